"""A command and every process that came of it: started, watched, asked to stop, ended. Linux only.

The command gets a session of its own. Its descendants are written down by number and start time
while it runs. This process takes orphans over (PR_SET_CHILD_SUBREAPER), so that no descendant
leaves its sight; a guardian ends them all when this process is killed.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import IO

from launch.processes.asked import Asked
from launch.processes.guardian import Guardian
from launch.processes.table import Process, read_process, read_table, send
from limbeck.config.errors import UsageError

__all__ = ["Family", "end_with_parent", "exit_code_of", "run_passing_on", "state_of"]

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of <linux/prctl.h>
LAUNCHERS = (  # Open MPI's; the last two are those of the package index
    *("mpirun", "orterun", "mpiexec", "prterun", "prte"),
    *("orterun_wrapper", "ompirun_wrapper"),
)
POLL_S = 0.05
LOOK_S = 1.0  # between looks at all processes, which cost some milliseconds
KILLED_IN_S = 10.0  # how long a killed process may take to go: more means the kernel holds it

_LIBC = ctypes.CDLL(None)  # loaded before a fork, where as little as possible should happen


def end_with_parent() -> None:
    """Asks Linux to send this process SIGTERM when its parent dies; for `preexec_fn`."""
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def exit_code_of(returncode: int) -> int:
    """An exit code as shells count: 128 + n for a death by signal n."""
    return 128 - returncode if returncode < 0 else returncode


class Family:
    """A running command with all its descendants.

    Args:
      command: the program and its arguments.
      environment: of the command; this process's when None.
      stdout: where its output and errors go; this process's own when None.
      grace_s: seconds that the processes get to save and end when this process is killed.

    Raises:
      UsageError: there is no such program, it may not be run, or this is not Linux.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        grace_s: float = 60.0,
    ) -> None:
        if sys.platform != "linux":
            raise UsageError("watching processes needs Linux's /proc")
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._others = {pid for pid, p in read_table().items() if p.parent == os.getpid()}
        self._guardian = Guardian(wait_s=grace_s)
        self._others.add(self._guardian.pid)
        try:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdout=stdout,
                stderr=None if stdout is None else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            self._guardian.dismiss()
            raise UsageError(f"{command[0]}: {error.strerror}") from error
        self._known: dict[int, Process] = {}
        self.look()

    def poll(self) -> int | None:
        """Exit code of the command as shells count; None while it runs."""
        code = self.process.poll()
        return None if code is None else exit_code_of(code)

    def look(self) -> list[Process]:
        """Finds and writes down descendants; returns those that have not ended."""
        table = read_table()
        children: dict[int, list[Process]] = {}
        for process in table.values():
            children.setdefault(process.parent, []).append(process)
        waiting = [p for p in children.get(os.getpid(), []) if p.pid not in self._others]
        waiting += [table[pid] for pid, old in self._known.items() if _is(table.get(pid), old)]
        found: dict[int, Process] = {}
        while waiting:
            process = waiting.pop()
            if process.pid not in found:
                found[process.pid] = process
                waiting += children.get(process.pid, [])
        for process in found.values():
            if not process.is_there and process.parent == os.getpid():
                self._reap(process.pid)
        self._guardian.tell(p for p in found.values() if not _is(self._known.get(p.pid), p))
        self._known |= found
        return [process for process in found.values() if process.is_there]

    def ask(self, ranks: Collection[int] = ()) -> str:
        """Asks for a stop that lets the work be saved.

        Args:
          ranks: process numbers of ranks on this machine, as far as they are known.

        Returns:
          Who was sent what.
        """
        there = self.look()
        own = [process for process in there if process.pid in ranks]
        # mpirun kills its ranks a second after a SIGTERM, but hands SIGUSR1 on and waits.
        launchers = [process for process in there if process.name in LAUNCHERS]
        for asked, number in ((own, signal.SIGTERM), (launchers, signal.SIGUSR1)):
            if [process for process in asked if send(process, number)]:
                return f"{number.name} to {_names(asked)}"
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return f"SIGTERM to process {self.process.pid}"

    def end(self, *, wait_s: float = 3.0) -> list[Process]:
        """Ends every process: SIGTERM to the command and mpirun, then SIGKILL to all.

        Args:
          wait_s: seconds between the two.

        Returns:
          What is still there although it was killed; as a rule nothing.
        """
        left = self.look()
        is_over = self.process.poll() is not None
        for process in left:
            if process.state == "T":  # it would not hear a request
                send(process, signal.SIGKILL)
            elif is_over or process.group == self.process.pid or process.name in LAUNCHERS:
                send(process, signal.SIGTERM)
        deadline = time.monotonic() + wait_s
        while left and time.monotonic() < deadline:
            time.sleep(POLL_S)
            left = self._looked()
        deadline = time.monotonic() + KILLED_IN_S
        while left and time.monotonic() < deadline:
            for process in left:
                send(process, signal.SIGKILL)
            time.sleep(POLL_S)
            left = self._looked()
        self.process.poll()
        self._guardian.dismiss()
        return left

    def _looked(self) -> list[Process]:
        self.process.poll()
        return self.look()

    def _reap(self, pid: int) -> None:
        """Takes note of the end of an orphan; `Popen` does that for the command itself."""
        if pid != self.process.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def run_passing_on(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    ranks_of: Callable[[Sequence[Process]], Collection[int]] | None = None,
) -> int:
    """Runs a command in sight of this process until it ends, and nothing of it is left.

    SIGTERM, SIGINT or SIGUSR1 to this process asks for a stop (`Family.ask`); a second one ends
    everything.

    Args:
      command: the program and its arguments.
      environment: of the command; this process's when None.
      ranks_of: finds the numbers of ranks among its processes; they are asked in its place.

    Returns:
      The exit code as shells count; where a stop was asked for, 128 + the signal's number (143 for
      SIGTERM and SIGUSR1), or 0 if all work was done before.
    """
    with Asked() as asked:
        family = Family(command, environment=environment)
        passed_on, look_at = False, 0.0
        while (code := family.poll()) is None and asked.times < 2:
            if asked.times and not passed_on:
                family.ask(ranks_of(family.look()) if ranks_of else ())
                passed_on = True
            if time.monotonic() > look_at:
                family.look()
                look_at = time.monotonic() + LOOK_S
            asked.wait(POLL_S)
        family.end()
    return asked.exit_code if asked.times and code != 0 else code or 0


def _is(process: Process | None, other: Process) -> bool:
    return process is not None and process.started == other.started


def _names(processes: Collection[Process]) -> str:
    return ", ".join(f"{process.name} {process.pid}" for process in processes)


def state_of(pid: int) -> str:
    """What a process does, in words for a message; empty where there is nothing to say."""
    process = read_process(pid)
    words = {"T": "stopped by a signal", "D": "waiting for a disk", "Z": "ended"}
    return "ended" if process is None else words.get(process.state, "")
