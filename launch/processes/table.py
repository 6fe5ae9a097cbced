"""What /proc says of this machine's processes. Linux only; standard library only.

A process is its number and the time it started: numbers are used again.
"""

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Process", "read_process", "read_table", "send"]

# Of the fields behind the command's name in /proc/PID/stat; see proc(5).
STATE, PARENT, GROUP, STARTED = 0, 1, 2, 19


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process, as it was when it was looked at."""

    pid: int
    """Its number."""

    started: int
    """When it started, in clock ticks since the machine's start."""

    parent: int
    """Number of its parent; 1, or the nearest subreaper, once that has ended."""

    group: int
    """Number of its process group."""

    state: str
    """A letter: R running, S sleeping, D waiting for a disk, T stopped, Z ended and not reaped."""

    name: str
    """Of its program, 15 characters at most."""

    @property
    def is_there(self) -> bool:
        """Whether it has not ended yet."""
        return self.state not in "ZX"


def read_process(pid: int) -> Process | None:
    """Looks at one process; None where there is none of that number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, rest = file.read().decode(errors="replace").rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    return Process(
        pid=pid,
        started=int(fields[STARTED]),
        parent=int(fields[PARENT]),
        group=int(fields[GROUP]),
        state=fields[STATE],
        name=head.partition("(")[2],
    )


def read_table() -> Mapping[int, Process]:
    """Looks at all processes, by number."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return {process.pid: process for process in found if process is not None}


def send(process: Process, number: int) -> bool:
    """Sends a signal to this very process, not to another one that got its number.

    Returns:
      False where it has ended.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(ProcessLookupError))
        descriptor = os.pidfd_open(process.pid)
        stack.callback(os.close, descriptor)
        now = read_process(process.pid)  # the descriptor holds on to what is looked at here
        if now is None or now.started != process.started or not now.is_there:
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    return False
