"""Ends the processes of a supervisor that was killed and could not do it itself.

A forked process in a session of its own reads from a pipe the numbers and start times of what the
supervisor has started. When the pipe closes without a goodbye, it waits a little, since the
command was sent SIGTERM by the system and may pass it on, and then kills what is left.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable

from launch.processes.table import Process, read_table, send

__all__ = ["Guardian"]

KILLED_IN_S = 10.0  # how long a killed process may take to go: more means the kernel holds it
POLL_S = 0.1
GOODBYE = b"goodbye\n"


class Guardian:
    """The supervisor's end of the pipe."""

    def __init__(self, *, wait_s: float) -> None:
        """Forks. The new process runs no other code than this module's.

        Args:
          wait_s: seconds that processes get to end by themselves when the supervisor is gone.
        """
        reader, self._writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._writer)
                _guard(reader, wait_s)
            finally:
                os._exit(0)
        os.close(reader)

    def tell(self, processes: Iterable[Process]) -> None:
        """Hands over processes to be ended in case."""
        for process in processes:
            self._write(f"{process.pid} {process.started}\n".encode())

    def dismiss(self) -> None:
        """Lets it go: nothing is left to be ended."""
        if self._writer >= 0:
            self._write(GOODBYE)
            os.close(self._writer)
            self._writer = -1
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guardian
            os.write(self._writer, data)


def _guard(reader: int, wait_s: float) -> None:
    os.setsid()  # what is sent to the supervisor's terminal or group does not reach us
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # whoever reads the supervisor's output must not wait for us
        os.dup2(null, descriptor)
    for descriptor in map(int, os.listdir("/dev/fd")):
        if descriptor > 2 and descriptor != reader:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    known: set[tuple[int, int]] = set()
    with os.fdopen(reader, "rb") as lines:
        for line in lines:
            if line == GOODBYE:
                return
            pid, started = line.split()
            known.add((int(pid), int(started)))
    _end(known, wait_s)


def _end(known: set[tuple[int, int]], wait_s: float) -> None:
    """Kills what is known, and what came of it, once the time to go by itself is over."""
    killing_at = time.monotonic() + wait_s
    while left := _left(known):
        known |= {(process.pid, process.started) for process in left}
        if time.monotonic() > killing_at:
            for process in left:
                send(process, signal.SIGKILL)
        if time.monotonic() > killing_at + KILLED_IN_S:
            return  # the kernel holds them
        time.sleep(POLL_S)


def _left(known: set[tuple[int, int]]) -> list[Process]:
    """Processes that are known, or whose parent is, and that have not ended."""
    table = read_table()
    alive = {pid for pid, p in table.items() if (pid, p.started) in known and p.is_there}
    return [p for pid, p in table.items() if p.is_there and (pid in alive or p.parent in alive)]
