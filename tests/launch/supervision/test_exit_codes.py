"""What a job's end means: every row of the table, from the text that launchers really print."""

import pytest

from launch.supervision.exit_codes import judge
from launch.supervision.findings import Findings
from launch.supervision.output import demultiplex

# As Open MPI 4.1.8 and 5.0.11 printed them.
KILLED = "mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed).\n"
KILLED_5 = """prterun noticed that process rank 1 with PID 7672 on node vm exited on
signal 9 (Killed).
"""
NON_ZERO = """mpirun detected that one or more processes exited with non-zero status, thus causing
the job to be terminated. The first process to do so was:

  Process name: [[32590,1],1]
  Exit code:    3
"""
NON_ZERO_5 = """prterun detected that one or more processes exited with non-zero status,
thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-vm-7469@1,1]
   Exit code:    3
"""
IMPROPER = """mpirun has exited due to process rank 1 with PID 0 on
node vm exiting improperly. There are three reasons this could occur:
"""
LOST = """ORTE has lost communication with a remote daemon.

  HNP daemon   : [[17183,0],0] on node node1
  Remote daemon: [[17183,0],1] on node node2
"""
BUG = """[1,1]<stderr>:[r1] Traceback (most recent call last):
[1,1]<stderr>:[r1]   File "loop.py", line 9, in step
[1,1]<stderr>:[r1] KeyError: 'no such row'
"""
ECHO = """[1,0]<stderr>:[r0] Traceback (most recent call last):
[1,0]<stderr>:[r0]   File "collectives.py", line 9, in sum_vector
[1,0]<stderr>:[r0] UnknownError: Horovod has been shut down. This was caused by an exception
"""
ERROR = "[1,1]<stderr>:[r1] train run: error: data-00001: row 7, byte 900: damaged\n"
AGREED = "[1,0]<stderr>:train run: error: rank 1 on node2: /data: no such directory\n"


def verdict(code, text="", **options):
    findings = Findings()
    for line in demultiplex(text.splitlines(keepends=True)):
        findings.take(line)
    return judge(code, findings, **options)


@pytest.mark.parametrize(
    "code, text, action, reason",
    [
        (0, "", "done", "done"),
        (0, BUG, "done", "done"),  # somebody's thread; all work was done all the same
        (137, KILLED, "restart", "rank 1 on vm died by signal 9 (SIGKILL)"),
        (137, KILLED_5, "restart", "rank 1 on vm died by signal 9 (SIGKILL)"),
        (137, "", "restart", "a process died by signal 9 (SIGKILL)"),
        (139, "", "restart", "a process died by signal 11 (SIGSEGV)"),
        (137, ECHO + KILLED, "restart", "rank 1 on vm died by signal 9 (SIGKILL)"),
        (1, ECHO + KILLED, "restart", "rank 1 on vm died by signal 9 (SIGKILL)"),
        (143, KILLED.replace("9 (Killed)", "15"), "restart", "rank 1 on vm died by signal 15"),
        (205, LOST, "restart", "host node2 was lost"),
        (205, "", "restart", "host (unnamed) was lost"),
        (1, BUG, "stop", "rank 1 raised an exception, which another start would meet again"),
        (1, ECHO + BUG, "stop", "rank 1 raised an exception"),  # whoever was faster
        (1, ERROR, "stop", "rank 1 reported an error, which another start would meet again"),
        (1, AGREED, "stop", "rank 1 on node2 reported an error"),
        (1, IMPROPER + ECHO, "restart", "rank 1 on vm left before the others"),
        (1, "", "restart", "a process left with code 1, without an error message"),
        (3, NON_ZERO, "restart", "rank 1 left with code 3, without an error message"),
        (3, NON_ZERO_5, "restart", "rank 1 left with code 3, without an error message"),
        (1, BUG.replace(">:[r1] ", ">: "), "stop", "rank 1 raised an exception"),  # Open MPI 5
        (2, "", "stop", "wrong usage"),
        (126, "", "stop", "the command cannot be run"),
        (127, "", "stop", "the command cannot be run"),
        (124, "", "restart", "ended by a time limit"),
        (143, "", "stop", "asked to stop, not by this supervisor"),
        (130, "", "stop", "interrupted, not by this supervisor"),
    ],
)
def test_code_and_output_decide_what_is_done(code, text, action, reason):
    found = verdict(code, text)
    assert (found.action, found.reason[: len(reason)]) == (action, reason)


# `sys.exit(3)` in rank 1: Horovod shuts down as it leaves, and rank 0 fails before it is gone.
LEFT = ECHO + NON_ZERO.replace("],1]", "],0]")


@pytest.mark.parametrize(
    "ranks, rank, reason",
    [
        ({0: "a", 1: "b"}, 1, "rank 1 on b left before the others, without an error message"),
        ({0: "a", 1: "b", 2: "c"}, None, "a process left before the others"),
        ({}, None, "a process left before the others"),
    ],
)
def test_rank_that_waited_for_another_is_not_the_one_that_left(ranks, rank, reason):
    found = verdict(1, LEFT, ranks=ranks)
    assert (found.action, found.rank) == ("restart", rank)
    assert found.reason.startswith(reason)


def test_host_of_a_rank_is_known_from_its_heartbeat():
    assert verdict(1, BUG, ranks={0: "a", 1: "b"}).host == "b"


def test_first_traceback_is_shown_without_marks():
    found = verdict(1, ECHO + BUG)
    assert found.rank == 1
    assert found.shown == (
        "Traceback (most recent call last):",
        '  File "loop.py", line 9, in step',
        "KeyError: 'no such row'",
    )


def test_lost_host_is_named_for_the_hostfile():
    assert verdict(205, LOST).host == "node2"
