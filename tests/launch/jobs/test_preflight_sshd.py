"""The questions of a preflight to a real ssh server on the loopback, with keys of its own."""

import os
import shutil
import socket
import subprocess
import time

import pytest

from launch.jobs import preflight
from launch.jobs.hosts import parse_hosts
from launch.jobs.links import Links, Ssh
from launch.jobs.preflight import Preflight

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SSHD and shutil.which("ssh-keygen")), reason="there is no sshd on this machine"
    ),
]

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host
AuthorizedKeysFile {home}/user.pub
PidFile none
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running sshd; yields how to reach it. The loopback counts as another machine here."""
    monkeypatch.setattr(preflight, "is_this_machine", lambda name: False)
    for name in ("host", "user", "stranger"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(make, check=True, timeout=30)
    port = free_port()
    (tmp_path / "known").write_text(f"[localhost]:{port} {(tmp_path / 'host.pub').read_text()}")
    (tmp_path / "config").write_text(CONFIG.format(port=port, home=tmp_path))
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    with subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "config"], stderr=-3) as daemon:
        deadline = time.monotonic() + 20
        while not answers(port):
            if daemon.poll() is not None or time.monotonic() > deadline:
                daemon.kill()
                pytest.skip("sshd does not start here")
            time.sleep(0.05)
        yield {"port": port, "key": f"{tmp_path}/user", "known_hosts": f"{tmp_path}/known"}
        daemon.terminate()
        daemon.wait(10)


def problem(tmp_path, **changed):
    hosts = parse_hosts("localhost:1")
    found = Preflight(hosts=hosts, links=Links(ssh=Ssh(**changed)), directory=str(tmp_path))
    return found.problems()


def test_real_server_is_asked_and_its_refusals_are_understood(server, tmp_path):
    assert problem(tmp_path, **server) == []
    (tmp_path / "empty").touch()
    (unknown,) = problem(tmp_path, **{**server, "known_hosts": f"{tmp_path}/empty"})
    assert "localhost: its host key is not known here" in unknown
    assert f"ssh-keyscan -p {server['port']} localhost >> {tmp_path}/empty" in unknown
    (stranger,) = problem(tmp_path, **{**server, "key": f"{tmp_path}/stranger"})
    assert "localhost: ssh lets us in with none of our keys" in stranger
    key = (tmp_path / "stranger.pub").read_text()
    (tmp_path / "known").write_text(f"[localhost]:{server['port']} {key}")
    (changed,) = problem(tmp_path, **server)
    assert "localhost: its host key is another one than known_hosts holds" in changed
    (closed,) = problem(tmp_path, **{**server, "port": free_port()})
    assert "localhost: no ssh server answers there" in closed
