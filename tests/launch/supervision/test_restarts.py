"""How often and how soon; hosts that are left out."""

import pytest

from launch.supervision.host_list import HostList
from launch.supervision.restarts import Restarts, saved_steps
from limbeck.config.errors import UsageError


def restarts(**changes):
    plain = {"limit": 9, "idle_limit": 8, "back_off_s": 5.0, "longest_s": 60.0}
    return Restarts(**{**plain, **changes})


def test_pause_doubles_without_progress_and_starts_anew_with_it():
    counted, pauses = restarts(), []
    for progressed in (True, False, False, False, True, False, False):
        assert counted.ended(progressed=progressed) == ""
        pauses.append(counted.pause_s)
    assert pauses == [5, 5, 10, 20, 5, 5, 10]


def test_pause_is_bounded():
    counted = restarts()
    for _ in range(8):
        counted.ended(progressed=False)
    assert counted.pause_s == 60


def test_limit_counts_all_restarts():
    counted = restarts(limit=2)
    assert [counted.ended(progressed=True) for _ in range(3)] == [
        "",
        "",
        "after 2 restarts (--max-restarts)",
    ]
    assert counted.made == 2


def test_crash_loop_ends_sooner():
    counted = restarts(idle_limit=2)
    assert [bool(counted.ended(progressed=p)) for p in (False, True, False, False, False)] == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_saved_steps_are_those_of_the_newest_checkpoints_of_all_stages(tmp_path):
    assert saved_steps(tmp_path) is None
    for place in ("stages/01-a/checkpoints", "stages/02-b/checkpoints"):
        (tmp_path / place).mkdir(parents=True)
    assert saved_steps(tmp_path) is None
    for name in ("01-a/checkpoints/step-00000007", "01-a/checkpoints/step-00000012"):
        (tmp_path / "stages" / f"{name}.safetensors").touch()
    (tmp_path / "stages/02-b/checkpoints/step-00000003.safetensors").touch()
    (tmp_path / "stages/02-b/checkpoints/step-00000009.safetensors.tmp-1-00ff00ff").touch()
    assert saved_steps(tmp_path) == 15


@pytest.fixture
def hostfile(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("root@node1 slots=4\nnode2.cluster slots=4\n10.0.0.3 slots=2\n")
    return path


def test_lost_host_is_left_out_of_a_copy_with_fewer_ranks(tmp_path, hostfile):
    command = ["launch", "run", "-np", "10", "--hostfile", str(hostfile), "--", "x", "-n", "9"]
    hosts = HostList(str(hostfile), command, copy=tmp_path / "copy")
    before = hostfile.read_bytes()
    assert hosts.command == command
    said = hosts.drop("node2")
    assert said.startswith("node2 is left out: 2 hosts with 6 slots in ")
    copy = str(tmp_path / "copy")
    assert hosts.command == [*command[:3], "6", "--hostfile", copy, "--", "x", "-n", "9"]
    assert (tmp_path / "copy").read_text() == "root@node1 slots=4\n10.0.0.3 slots=2\n"
    assert hostfile.read_bytes() == before
    assert hosts.drop("10.0.0.3") and hosts.command[3] == "4"


@pytest.mark.parametrize("name", ["node9", "10.0.0.33", "10", ""])
def test_host_that_is_not_in_the_file_drops_nothing(tmp_path, hostfile, name):
    hosts = HostList(str(hostfile), [f"--hostfile={hostfile}"], copy=tmp_path / "copy")
    assert hosts.drop(name) == "" and len(hosts.hosts) == 3
    assert not (tmp_path / "copy").exists()


def test_last_host_is_never_left_out(tmp_path, hostfile):
    hosts = HostList(str(hostfile), [str(hostfile)], copy=tmp_path / "copy")
    assert hosts.drop("node1") and hosts.drop("node2.cluster")
    assert hosts.drop("10.0.0.3") == ""


def test_command_that_does_not_name_the_hostfile_is_refused(tmp_path, hostfile):
    with pytest.raises(UsageError, match="the command does not name this file"):
        HostList(str(hostfile), ["mpirun", "x"], copy=tmp_path / "copy")
