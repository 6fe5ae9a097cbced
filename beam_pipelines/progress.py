"""A progress bar for work that other processes do.

Each process that works writes its own count into a file of a scratch directory; the driver adds
them up once in a while. No queue, no lock, and nothing at all when stderr is not a terminal.
"""

import os
import sys
import threading
from types import TracebackType

import tqdm

__all__ = ["Progress", "tick"]

_EVERY_S = 0.3
_COUNTS: dict[str, int] = {}


def tick(directory: str, count: int = 1) -> None:
    """Adds to this process' count; `directory` is empty where nobody watches."""
    if directory:
        path = os.path.join(directory, f"{os.getpid()}-{threading.get_ident()}")
        _COUNTS[path] = _COUNTS.get(path, 0) + count
        with open(path, "w") as file:
            file.write(str(_COUNTS[path]))


class Progress:
    """Shows the sum of all ticks on stderr while it is entered, on a terminal only."""

    def __init__(self, scratch: str, *, what: str, total: int | None = None) -> None:
        """Takes a scratch directory, the name of what is counted, and how many there will be."""
        self.directory = os.path.join(scratch, "progress") if sys.stderr.isatty() else ""
        self._what = what
        self._total = total
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

    def _show(self) -> None:
        with tqdm.tqdm(total=self._total, unit=f" {self._what}", leave=False) as bar:
            while not self._stop.wait(_EVERY_S):
                done = self._count()
                bar.update(min(done, self._total or done) - bar.n)

    def _count(self) -> int:
        total = 0
        for name in os.listdir(self.directory):
            with open(os.path.join(self.directory, name)) as file:
                total += int(file.read() or 0)  # empty: caught between truncating and writing
        return total
