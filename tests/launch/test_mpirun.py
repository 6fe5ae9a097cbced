"""Golden command lines: what is printed before a run is exactly what runs."""

from pathlib import Path

import pytest

from launch import mpirun

ALWAYS = (
    "--bind-to none --map-by slot -mca mpi_yield_when_idle 1 -mca oob_tcp_keepalive_time 5 "
    "-mca oob_tcp_keepalive_intvl 2 -mca oob_tcp_keepalive_probes 3"
)


@pytest.fixture
def as_user(monkeypatch):
    """An ordinary user on a machine whose mpirun is /mpi/bin/mpirun, with a clean environment."""
    monkeypatch.setattr(mpirun, "mpirun_path", lambda: Path("/mpi/bin/mpirun"))
    monkeypatch.setattr(mpirun.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mpirun.os, "environ", {"PATH": "/bin", "HOME": "/home/ada"})
    return monkeypatch


def test_ranks_on_this_machine(as_user):
    command = mpirun.mpirun_command(2, ["python", "-m", "train", "run", "a b.yaml"])
    expected = ["/mpi/bin/mpirun", "-np", "2", "--oversubscribe", *ALWAYS.split()]
    assert command == [*expected, "python", "-m", "train", "run", "a b.yaml"]


def test_root_is_allowed_and_no_more_ranks_than_cores(as_user):
    as_user.setattr(mpirun.os, "geteuid", lambda: 0)
    command = mpirun.mpirun_command(1, ["true"], oversubscribe=False)
    expected = ["/mpi/bin/mpirun", "-np", "1", "--allow-run-as-root", *ALWAYS.split()]
    assert command == [*expected, "true"]


def test_ranks_on_other_hosts_get_our_settings(as_user):
    as_user.setitem(mpirun.os.environ, "HOROVOD_CYCLE_TIME", "5")
    as_user.setitem(mpirun.os.environ, "OPAL_PREFIX", "/mpi")
    command = mpirun.mpirun_command(4, ["true"], hosts=["one:2", "two:2"])
    tail = "--host one:2,two:2 -x HOROVOD_CYCLE_TIME -x OPAL_PREFIX -x PATH true"
    assert command[-10:] == ["3", *tail.split()]


@pytest.mark.parametrize(
    ("num_ranks", "command", "message"),
    [
        (0, ["true"], "num_ranks is 0"),
        (2, [], "command is empty"),
    ],
)
def test_nothing_to_run_is_refused(as_user, num_ranks, command, message):
    with pytest.raises(ValueError, match=message):
        mpirun.mpirun_command(num_ranks, command)
