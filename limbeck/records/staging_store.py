"""The directory that datasets are staged into: its lock, what lies in it, what may go.

    DIR/NAME-0123456789ab           a staged dataset; the end of its name begins its id
    DIR/NAME-0123456789ab.partial   one in the making, or on its way out
    DIR/.lock                       empty; held by the process that is at work here

Whatever else lies below DIR counts towards the budget and is never touched. When a dataset was last
asked for is the time of its manifest.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.manifest import MANIFEST, Manifest, read_manifest
from limbeck.records.shard import DATASET_NAME

__all__ = ["PARTIAL", "Lodger", "StagingStore", "in_use_by"]

PARTIAL = ".partial"
LOCK = ".lock"
_ID_DIGITS = 12
_LODGER = re.compile(rf"(?P<stem>.+-[0-9a-f]{{{_ID_DIGITS}}})(?P<partial>\.partial)?")


@dataclass(frozen=True, kw_only=True)
class Lodger:
    """A dataset that was staged here, or half of one."""

    path: str
    """Its directory."""

    num_bytes: int
    """That it takes."""

    used: float
    """When it was last asked for; half ones count as never."""

    @property
    def is_partial(self) -> bool:
        """Whether it is none yet."""
        return self.path.endswith(PARTIAL)


class StagingStore:
    """One directory for staged datasets.

    Args:
      directory: made if it is not there.

    Raises:
      UsageError: it cannot be made.
    """

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        try:
            os.makedirs(self.directory, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{directory}: {error.strerror}") from error

    def target(self, source: str, manifest: Manifest) -> str:
        """Where a dataset goes: the same for the same content and the same last part of a path."""
        name = source.rstrip("/").rpartition("/")[2]
        if not DATASET_NAME.fullmatch(name):
            name = manifest.content.name
        return os.path.join(self.directory, f"{name}-{manifest.id[:_ID_DIGITS]}")

    @contextlib.contextmanager
    def lock(self, *, waiting: Callable[[], object]) -> Iterator[None]:
        """Holds the directory; the system lets go of it however the process ends.

        Args:
          waiting: called once if another process has it.
        """
        with open(os.path.join(self.directory, LOCK), "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def used_bytes(self) -> int:
        """Bytes of all files below the directory; links count as what they are themselves."""
        return bytes_below(self.directory)

    def lodgers(self) -> list[Lodger]:
        """Datasets and halves of datasets, those first that may go first."""
        found = []
        for entry in os.scandir(self.directory):
            match = _LODGER.fullmatch(entry.name)
            if match is None or not entry.is_dir(follow_symlinks=False):
                continue
            used = 0.0 if match["partial"] else _last_used(entry.path, match["stem"])
            if used is not None:
                found.append(Lodger(path=entry.path, num_bytes=bytes_below(entry.path), used=used))
        return sorted(found, key=lambda lodger: (not lodger.is_partial, lodger.used, lodger.path))

    def evict(self, too_many: int, *, keep: Collection[str]) -> list[Lodger]:
        """Removes the datasets that were asked for longest ago, until so many bytes are free.

        Nothing is removed where that would not be enough.

        Args:
          too_many: bytes that have to go.
          keep: datasets that stay, by their path.

        Returns:
          What was removed.

        Raises:
          UsageError: not enough may go; says what stands in the way.
        """
        going, left = [], too_many
        kept = {path.removesuffix(PARTIAL) for path in keep}
        busy = []
        for lodger in self.lodgers():
            if left <= 0:
                break
            if lodger.path.removesuffix(PARTIAL) in kept:
                continue
            if users := in_use_by(lodger.path):
                busy.append(f"{lodger.path} is read by process {users[0]}")
                continue
            going.append(lodger)
            left -= lodger.num_bytes
        if left > 0:
            why = f" ({'; '.join(busy)})" if busy else ""
            raise UsageError(
                f"{self.directory}: {too_many:,} bytes have to go, and only {too_many - left:,} "
                f"bytes of datasets may{why}; raise --budget, or remove something else"
            )
        for lodger in going:
            remove(lodger.path)
        return going


def remove(path: str) -> None:
    """Removes a dataset; killed on the way, it leaves no half one under the name of the whole."""
    doomed = path if path.endswith(PARTIAL) else path + PARTIAL
    if doomed != path:
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(path, doomed)
    try:
        shutil.rmtree(doomed)
    except OSError as error:
        raise LimbeckError(f"{doomed}: could not be removed: {error.strerror}") from error


def bytes_below(directory: str) -> int:
    """Bytes of all files below a directory, in which others may be at work."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def in_use_by(directory: str) -> list[int]:
    """Processes that have an index of a dataset mapped, as every reader has; as Linux tells."""
    own, found = f"{os.path.realpath(directory)}/", []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                # Other users' processes, and those that end meanwhile, tell nothing.
                with contextlib.suppress(OSError), open(f"/proc/{entry}/maps") as maps:
                    if any(own in line for line in maps):
                        found.append(int(entry))
    return found


def _last_used(path: str, stem: str) -> float | None:
    """When a staged dataset was last asked for; None where it is no dataset of ours."""
    try:
        manifest = read_manifest(path)
        if manifest.id.startswith(stem[-_ID_DIGITS:]):
            return os.stat(os.path.join(path, MANIFEST)).st_mtime
    except (OSError, LimbeckError):
        pass
    return None
