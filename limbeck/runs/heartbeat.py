"""A small file a rank, replaced as the rank gets on, for a supervisor to watch.

A supervisor that sees `beats` stand still for longer than its time-out has found a rank that is
dead or hangs. It should time that with its own monotonic clock: wall clocks jump and hosts differ.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from limbeck.config.errors import LimbeckError

__all__ = ["Heartbeat", "read_heartbeats"]


class Heartbeat:
    """Writes one rank's file."""

    def __init__(self, directory: Path, *, rank: int, interval_s: float = 5.0) -> None:
        """Names the file; at most one is written in `interval_s` seconds."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"rank-{rank:05d}.json"
        self._rank = rank
        self._interval_s = interval_s
        self._beats = 0
        self._next = float("-inf")

    def beat(self, *, step: int) -> bool:
        """Replaces the file if the interval is over; returns whether it did."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._interval_s
        self._beats += 1
        text = json.dumps(
            {
                "rank": self._rank,
                "beats": self._beats,
                "step": step,
                "wall_time": round(time.time(), 3),
                "host": socket.gethostname(),
                "pid": os.getpid(),
            }
        )
        # Whole, but not fsynced: a heartbeat that a power failure takes was of no more use.
        temporary = self.path.with_name(f"{self.path.name}.tmp-{os.getpid()}")
        temporary.write_text(text + "\n")
        temporary.replace(self.path)
        return True


def read_heartbeats(directory: Path) -> dict[int, Mapping[str, float | str]]:
    """Returns the last beat of every rank, by rank.

    Raises:
      LimbeckError: a file is not a heartbeat.
    """
    beats: dict[int, Mapping[str, float | str]] = {}
    for path in sorted(directory.glob("rank-*.json")):
        try:
            beat = json.loads(path.read_bytes())
            beats[int(beat["rank"])] = beat
        except (ValueError, KeyError, TypeError) as error:
            raise LimbeckError(f"{path}: not a heartbeat: {error}") from error
    return beats
