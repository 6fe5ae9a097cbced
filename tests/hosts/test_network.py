"""The hosts that the other tests run on: what they share, and that nothing of them stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hosts.network import namespaces, network

pytestmark = [pytest.mark.slow, pytest.mark.faults]

DIE_INSIDE = """
import os, pathlib, signal, sys
from tests.hosts.network import network
with network(pathlib.Path(sys.argv[1]), ["one"]) as net:
    (host,) = net.hosts.values()
    print(host.namespace, host.sshd.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(pid):
    """Whether it runs; its parent was killed, so nobody may have asked yet how it ended."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_hosts_have_their_names_and_addresses_and_go_with_all_processes(net):
    one, two = net.hosts.values()
    for host in (one, two):
        said = subprocess.run(
            host.line("sh", "-c", "hostname; hostname -I; cat /etc/hosts", cwd=ROOT),
            capture_output=True,
            text=True,
        ).stdout
        assert said.startswith(f"{host.name}\n{host.address} ")
        assert f"{one.address} {one.name}\n{two.address} {two.name}\n" in said
    assert one.namespace in namespaces()


def test_network_of_a_process_that_was_killed_is_swept_by_the_next(make_network, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DIE_INSIDE, str(keys)], cwd=ROOT, capture_output=True, text=True
    )
    namespace, pid = done.stdout.split()
    assert namespace in namespaces() and alive(pid)
    make_network("two")
    assert namespace not in namespaces() and not alive(pid)


def test_network_goes_also_where_the_test_fails(make_network, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()
    with pytest.raises(ZeroDivisionError), network(keys, ["one"]) as net:
        (host,) = net.hosts.values()
        sleeper = subprocess.Popen(host.line("sleep", "1000", cwd=ROOT))
        1 / 0  # noqa: B018
    assert sleeper.wait(10) == -9
    assert host.namespace not in namespaces() and host.sshd.returncode is not None
