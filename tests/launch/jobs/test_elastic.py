import json
import os
import signal
import subprocess
import sys
import time

import pytest

import launch.jobs.elastic
from launch.environment import project_root
from launch.jobs.discover import discovery_of_hostfile, listed, main
from launch.jobs.elastic import ElasticOptions, elastic, horovodrun_command, ranks_here
from launch.jobs.hosts import Host
from launch.processes.table import read_process, read_table
from limbeck.config.errors import UsageError

HERE = (Host(name="localhost", slots=1), Host(name="127.0.0.1", slots=2))
# An address that documents may use and no machine has (RFC 5737).
AWAY = (*HERE, Host(name="192.0.2.7", slots=8))


@pytest.fixture
def hostfile(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("localhost slots=1  # the first\n127.0.0.1:2\n")
    return path


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "discover"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def words(options, hosts=HERE):
    line = horovodrun_command(options, ["train"], discovery="./hosts.sh", hosts=hosts)
    assert line[0] == f"{sys.prefix}/bin/horovodrun"
    return line[1:]


def test_line_of_defaults_is_as_written_here():
    assert words(ElasticOptions(hostfile="hosts")) == [
        *("--gloo", "-np", "1", "--min-np", "1", "--host-discovery-script", "./hosts.sh"),
        *("--network-interfaces", "lo", "--elastic-timeout", "600"),
        *("--gloo-timeout-seconds", "60", "sh", "-c", '"$@"; exit $?', "sh", "train"),
    ]


def test_line_of_all_options_is_as_written_here(tmp_path):
    key = tmp_path / "key"
    key.touch()
    options = ElasticOptions(
        discovery="./hosts.sh",
        min_np=2,
        max_np=8,
        start_np=4,
        wait_s=30,
        meet_s=90,
        cooldown=(5, 60),
        reset_limit=0,
        interface="eth0",
        ssh_port=2222,
        ssh_key=str(key),
    )
    assert words(options, AWAY) == [
        *("--gloo", "-np", "4", "--min-np", "2", "--max-np", "8"),
        *("--host-discovery-script", "./hosts.sh", "--network-interfaces", "eth0"),
        *("--elastic-timeout", "30", "--gloo-timeout-seconds", "90", "--reset-limit", "0"),
        *("--ssh-port", "2222", "--ssh-identity-file", str(key)),
        *("--blacklist-cooldown-range", "5", "60"),
        *("sh", "-c", '"$@"; exit $?', "sh", "train"),
    ]


@pytest.mark.parametrize("hosts", [AWAY, ()])
def test_interface_is_left_to_horovod_where_hosts_are_not_all_here(hosts):
    assert "--network-interfaces" not in words(ElasticOptions(hostfile="hosts"), hosts)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "give either --hostfile or --discovery"),
        ({"hostfile": "a", "discovery": "b"}, "give either --hostfile or --discovery"),
        ({"hostfile": "a", "min_np": 0}, "expected 1 <= min <= max"),
        ({"hostfile": "a", "min_np": 3, "max_np": 2}, "--min-np 3 and --max-np 2"),
        ({"hostfile": "a", "min_np": 2, "start_np": 1}, "--start-np 1 is not within"),
        ({"hostfile": "a", "max_np": 2, "start_np": 3}, "--start-np 3 is not within"),
        ({"hostfile": "a", "wait_s": 0}, "--wait-s 0"),
        ({"hostfile": "a", "meet_s": 0}, "--meet-s 0"),
        ({"hostfile": "a", "reset_limit": -1}, "--reset-limit -1"),
        ({"hostfile": "a", "cooldown": (0, 5)}, "expected 1 <= MIN <= MAX <= 3600"),
        ({"hostfile": "a", "cooldown": (9, 5)}, "expected 1 <= MIN <= MAX <= 3600"),
        ({"hostfile": "a", "cooldown": (9, 4000)}, "expected 1 <= MIN <= MAX <= 3600"),
    ],
)
def test_options_that_contradict_themselves_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        ElasticOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--hostfile", "nowhere", "--", "true"], "nowhere: No such file"),
        (["--discovery", "nowhere", "--", "true"], "--discovery nowhere: there is no such program"),
        (["--hostfile", "HOSTS"], "no command: python -m launch elastic"),
        (["--hostfile", "HOSTS", "--", "no-such-program"], "no-such-program: there is no such"),
        (["--hostfile", "HOSTS", "--ssh-key", "nowhere", "--", "true"], "--ssh-key nowhere"),
        (["--hostfile", "HOSTS", "--set", "cycle_time=5", "--", "true"], "cycle_time"),
    ],
)
def test_what_cannot_be_run_is_refused(hostfile, arguments, text):
    with pytest.raises(UsageError, match=text):
        elastic([str(hostfile) if word == "HOSTS" else word for word in arguments])


def test_dry_run_prints_line_and_notes(hostfile, capsys):
    arguments = ["--hostfile", str(hostfile), "--min-np", "5", "--dry-run", "--", "python", "a.py"]
    assert elastic(arguments) == 0
    note, line = capsys.readouterr().err.splitlines()
    assert "there are 3 slots now and 5 ranks are to start; waits 600 s for more" in note
    assert line.startswith(f"{sys.prefix}/bin/horovodrun --gloo -np 5")
    assert line.endswith(f"sh {sys.executable} a.py")


def test_hosts_elsewhere_are_told_of_keys_that_are_not_checked(hostfile, capsys):
    hostfile.write_text("192.0.2.7:8\n")
    assert elastic(["--hostfile", str(hostfile), "--dry-run", "--", "true"]) == 0
    assert "without checking host keys" in capsys.readouterr().err


def test_command_runs_under_horovodrun_with_its_settings(hostfile, tmp_path, monkeypatch):
    """A program in horovodrun's place writes down what it was given."""
    program = tmp_path / "bin" / "horovodrun"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"given = [sys.argv[1:], os.environ.get('HOROVOD_CYCLE_TIME')]\n"
        f"json.dump(given, open({str(tmp_path / 'given')!r}, 'w'))\nsys.exit(7)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(launch.jobs.elastic, "environment_prefix", lambda: tmp_path)
    arguments = ["--hostfile", str(hostfile), "--set", "cycle_time_ms=5", "--", "true"]
    assert elastic(arguments) == 7
    given, cycle = json.loads((tmp_path / "given").read_text())
    assert given[:3] == ["--gloo", "-np", "1"] and given[-1] == "true"
    assert float(cycle) == 5


def test_ranks_are_the_children_of_the_shells_that_keep_them():
    line = horovodrun_command(
        ElasticOptions(hostfile="hosts"), ["sleep", "60"], discovery="true", hosts=HERE
    )
    shell = subprocess.Popen(line[line.index("sh") :])
    try:
        deadline = time.monotonic() + 20
        while not (found := ranks_here(list(read_table().values()))):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ours = [pid for pid in found if read_process(pid).parent == shell.pid]
        (rank,) = ours
        os.kill(rank, signal.SIGTERM)
        assert shell.wait(20) == 143  # as the rank, so that horovodrun sees how it ended
    finally:
        shell.kill()


def test_hosts_of_a_file_are_printed_as_they_are_now(hostfile):
    command = discovery_of_hostfile(str(hostfile))
    assert [str(host) for host in listed(command)] == ["localhost:1", "127.0.0.1:2"]
    hostfile.write_text("127.0.0.1 slots=4\n")
    assert [str(host) for host in listed(command)] == ["127.0.0.1:4"]
    assert str(project_root()) in command  # wherever horovodrun is started


def test_file_that_is_being_written_is_an_error_and_not_the_end_of_all_hosts(hostfile, capsys):
    hostfile.write_text("")
    assert main([str(hostfile)]) == 2
    assert "names no host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("echo 'no such cloud' >&2; exit 3", "exit code 3: no such cloud"),
        ("echo node1", "node1"),
        ("echo node1:two", "two"),
    ],
)
def test_discovery_that_does_not_list_hosts_is_refused(script, text, error):
    with pytest.raises(UsageError, match=error):
        listed(str(script(text)))


def test_discovery_may_list_nothing_yet(script):
    assert listed(str(script("echo"))) == ()
