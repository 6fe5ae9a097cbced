"""A directory held by one process at a time, and by the commands that it has started."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BASE_LOCK", "LOCK", "holding"]

LOCK = ".lock"
BASE_LOCK = ".base.lock"
"""Of the demonstration's directory, which may also be the --out of recipes."""


@contextlib.contextmanager
def holding(directory: Path, *, file: str = LOCK) -> Iterator[int]:
    """Holds a directory for one runner and the commands that it starts; yields the descriptor.

    Commands inherit it: what a killed runner had started is waited for, not run beside.

    Args:
      directory: made if it is not there.
      file: in it, that is locked.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{directory} is in use by another run; waiting for its end ...", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
