"""A progress bar for work that other processes do.

Each thread that works writes its own counts into a file of a scratch directory; the driver adds
them up once in a while. No queue, no lock, and nothing at all when stderr is not a terminal.

How much there is to do may be known (`total`), or else is estimated: a source says how many items
it has found in how many bytes (`found`), and the size of all its input is known.
"""

import os
import struct
import sys
import threading
from dataclasses import dataclass
from types import TracebackType

import tqdm

__all__ = ["Counts", "Progress", "found", "tick"]

_EVERY_S = 0.3
_COUNTS = struct.Struct("<QQQ")  # done, found, bytes read: of constant size, so written whole


@dataclass(kw_only=True)
class Counts:
    """How far the work has come."""

    done: int = 0
    """Items that are finished with."""
    found: int = 0
    """Items that a source has come across."""
    read: int = 0
    """Bytes that it took to find them, as they lie on disk."""


@dataclass(kw_only=True)
class _Tally:
    """The counts of one thread, and the file where the driver sees them."""

    counts: Counts
    descriptor: int


_TALLIES: dict[str, _Tally] = {}


def tick(directory: str, count: int = 1) -> None:
    """Says that items are done; `directory` is `Work.progress`, empty where nobody watches."""
    if directory:
        tally = _tally(directory)
        tally.counts.done += count
        _write(tally)


def found(directory: str, count: int = 1, *, read: int = 0) -> None:
    """Says that a source has come across items, and how many bytes more it has read."""
    if directory:
        tally = _tally(directory)
        tally.counts.found += count
        tally.counts.read += read
        _write(tally)


def _tally(directory: str) -> _Tally:
    path = os.path.join(directory, f"{os.getpid()}-{threading.get_ident()}")
    tally = _TALLIES.get(path)
    if tally is None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        tally = _TALLIES[path] = _Tally(counts=Counts(), descriptor=descriptor)
    return tally


def _write(tally: _Tally) -> None:
    counts = tally.counts
    os.pwrite(tally.descriptor, _COUNTS.pack(counts.done, counts.found, counts.read), 0)


class Progress:
    """Shows the sum of all counts on stderr while it is entered, on a terminal only."""

    def __init__(
        self, scratch: str, *, what: str, total: int | None = None, total_bytes: int | None = None
    ) -> None:
        """Takes a local scratch directory, what is counted, and how much there is if known."""
        watched = bool(scratch) and sys.stderr.isatty()
        self.directory = os.path.join(scratch, "progress") if watched else ""
        self._what = what
        self._total = total
        self._total_bytes = total_bytes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> "Progress":
        if self.directory:
            os.makedirs(self.directory)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self.directory:
            self._thread.join()
            for path in [path for path in _TALLIES if os.path.dirname(path) == self.directory]:
                os.close(_TALLIES.pop(path).descriptor)

    def _show(self) -> None:
        with tqdm.tqdm(total=self._total, unit=f" {self._what}", leave=False) as bar:
            while not self._stop.wait(_EVERY_S):
                counts = self.counts()
                total = self.estimate(counts)
                bar.total = total
                # A replayed bundle is counted twice.
                bar.update(min(counts.done, total or counts.done) - bar.n)

    def counts(self) -> Counts:
        """Returns the sums over all threads of all processes."""
        total = Counts()
        for name in os.listdir(self.directory):
            with open(os.path.join(self.directory, name), "rb") as file:
                data = file.read(_COUNTS.size)
            if len(data) == _COUNTS.size:  # else made this instant, and empty
                done, items, read = _COUNTS.unpack(data)
                total.done += done
                total.found += items
                total.read += read
        return total

    def estimate(self, counts: Counts) -> int | None:
        """Returns how many items there will be in all; None where nothing tells."""
        if self._total is not None:
            return self._total
        if not self._total_bytes or not counts.found or not counts.read:
            return None
        rest = max(0, self._total_bytes - counts.read)
        return counts.found + round(counts.found * rest / counts.read)
