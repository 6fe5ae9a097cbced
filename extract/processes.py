"""Whether the process that left a mark is still there, as far as this machine can tell.

A process is named by the machine's boot, the namespace of its number, the number, and when it
started: numbers are used again, and another machine or container has its own.
"""

import contextlib
import os
from typing import Any

__all__ = ["is_gone", "this_process"]

BOOT = "/proc/sys/kernel/random/boot_id"
NAMESPACE = "/proc/self/ns/pid"
START_TIME = 19  # of the fields behind the command's name in /proc/PID/stat


def this_process() -> dict[str, Any]:
    """Returns, JSON-able, who this process is; empty where the system does not tell."""
    place, started = _place(), _started(os.getpid())
    if place is None or started is None:
        return {}
    return {"place": place, "pid": os.getpid(), "started": started}


def is_gone(process: Any) -> bool:
    """Says whether a process, as `this_process` named it, ran on this machine and has ended.

    False where that is not known: of another machine, or without /proc.
    """
    if not isinstance(process, dict) or type(process.get("pid")) is not int:
        return False
    place = _place()
    if place is None or process.get("place") != place:
        return False
    return _started(process["pid"]) != process.get("started")


def _place() -> str | None:
    with contextlib.suppress(OSError), open(BOOT) as file:
        return f"{file.read().strip()} {os.readlink(NAMESPACE)}"
    return None


def _started(pid: int) -> int | None:
    """Returns the start of a process in clock ticks since boot; None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[START_TIME])
