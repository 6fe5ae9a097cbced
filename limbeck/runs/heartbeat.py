"""A small file a rank, replaced as the rank gets on, for a supervisor to watch.

`beats` counts what the rank's work has done (a step, a batch of an evaluation). `alive` counts how
often the file was written; a thread does that, so it goes on while the work waits for other ranks,
and stands still where the whole process does: frozen, or its host gone. A supervisor should time a
standstill with its own monotonic clock: wall clocks jump and hosts differ.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from limbeck.config.errors import LimbeckError

__all__ = ["Heartbeat", "read_heartbeats", "still_working"]

LOG = logging.getLogger(__name__)

_current: "Heartbeat | None" = None


class Heartbeat:
    """Writes one rank's file, from the first beat on. Use as a context manager.

    A disk that does not take the file is no reason to stop; it is told once.
    """

    def __init__(self, directory: Path, *, rank: int, interval_s: float = 5.0) -> None:
        """Names the file; it is replaced every `interval_s` seconds."""
        self.path = directory / f"rank-{rank:05d}.json"
        self._rank = rank
        self._interval_s = interval_s
        self._step = self._beats = self._alive = 0
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False

    def beat(self, *, step: int) -> None:
        """Counts a step. The first one writes the file at once."""
        self._step = step
        self.tick()

    def tick(self) -> None:
        """Counts a part of the work that is no step, such as a batch of an evaluation."""
        with self._guard:
            self._beats += 1
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)
        self.write()
        self._thread.start()

    def write(self, *, ended: bool = False) -> None:
        """Replaces the file now."""
        with self._guard:
            self._alive += 1
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _replace(self.path, self._values(ended=ended))
            except OSError as error:
                if not self._told:
                    LOG.warning("%s: no heartbeat: %s", self.path, error.strerror)
                self._told = True

    def close(self, *, ended: bool = True) -> None:
        """Stops writing; with `ended`, says in the file that this rank has left in order."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.write(ended=ended)

    def __enter__(self) -> "Heartbeat":
        """Makes this the heartbeat that `still_working` is about."""
        global _current
        _current = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the thread; the file stays."""
        global _current
        _current = None
        self.close(ended=kind is None)

    def _go_on(self) -> None:
        while not self._over.wait(self._interval_s):
            self.write()

    def _values(self, *, ended: bool) -> dict[str, float | str | bool]:
        return {
            "rank": self._rank,
            "beats": self._beats,
            "alive": self._alive,
            "step": self._step,
            "ended": ended,
            "wall_time": round(time.time(), 3),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }


def still_working(*, step: int | None = None) -> None:
    """Counts a part of a long phase, or a step, for this process's heartbeat if it has one."""
    heartbeat = _current
    if heartbeat is None:
        return
    if step is None:
        heartbeat.tick()
    else:
        heartbeat.beat(step=step)


def _replace(path: Path, values: Mapping[str, float | str | bool]) -> None:
    # Whole, but not fsynced: a heartbeat that a power failure takes was of no more use.
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(json.dumps(values) + "\n")
    temporary.replace(path)


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
