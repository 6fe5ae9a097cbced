"""Claims on shards as files: made once, renewed with a rising counter, taken over when left behind.

A claim is left behind if its bytes stand still for a lease, by the watcher's own clock, or if its
process is gone from this machine. No clock of another machine is ever looked at.
"""

import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

from extract.processes import is_gone, this_process
from limbeck.config.errors import LimbeckError

__all__ = ["ClaimFiles"]

LOG = logging.getLogger(__name__)


class ClaimFiles:
    """The claims of one process, and its view of those of others."""

    def __init__(
        self,
        directory: str,
        *,
        lease_s: float,
        turn: Callable[[], contextlib.AbstractContextManager[bool]],
    ) -> None:
        """Writes nothing yet.

        Args:
          directory: where the files lie; exists.
          lease_s: seconds without a renewal after which a claim is another's to take.
          turn: lets one process at a time take claims over; gives False where it is another's.
        """
        self._directory = directory
        self._lease_s = lease_s
        self._turn = turn
        self._owner = secrets.token_hex(8)
        self._renewed = 0
        self._seen: dict[int, tuple[bytes, float]] = {}

    def take(self, shard: int) -> bool:
        """Claims a shard if nobody else has it.

        Raises:
          LimbeckError: the file cannot be written.
        """
        path = self._path(shard)
        try:
            _write_new(path, self._content())
            return True
        except FileExistsError:
            pass
        found = _read(path)
        if found is None or not self._is_left_behind(shard, found):
            return False
        with self._turn() as is_mine:
            if not is_mine or _read(path) != found:  # another was faster
                return False
            self._replace(path)
        LOG.info("%s: taken over from a worker that is gone", path)
        return True

    def renew(self, shards: set[int]) -> None:
        """Shows that the owner of claims is alive.

        One that was taken over, while this process stood still, is not taken back: the shard is
        finished here all the same, with the same bytes.
        """
        self._renewed += 1
        for path in map(self._path, shards):
            try:
                if self._is_mine(path):
                    self._replace(path)
            except OSError as error:  # as of a full disk: at worst another does the shard too
                LOG.warning("%s: not renewed: %s", path, error)

    def release(self, shard: int) -> None:
        """Gives a claim up, unless another has taken it over."""
        path = self._path(shard)
        with contextlib.suppress(OSError):
            if self._is_mine(path):
                os.unlink(path)

    def _is_left_behind(self, shard: int, found: bytes) -> bool:
        now = time.monotonic()
        before, since = self._seen.get(shard, (None, now))
        if before != found:
            self._seen[shard] = (found, now)
            since = now
        return now - since >= self._lease_s or is_gone(_parse(found).get("process"))

    def _is_mine(self, path: str) -> bool:
        found = _read(path)
        return found is not None and _parse(found).get("owner") == self._owner

    def _content(self) -> bytes:
        claim = {"owner": self._owner, "process": this_process(), "renewed": self._renewed}
        return json.dumps(claim, sort_keys=True).encode()

    def _path(self, shard: int) -> str:
        return os.path.join(self._directory, f"{shard:05d}")

    def _replace(self, path: str) -> None:
        temporary = f"{path}.{self._owner}"
        with open(temporary, "wb") as file:  # not synced: after a power cut no claim counts
            file.write(self._content())
        os.replace(temporary, path)


def _write_new(path: str, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError:
        raise
    except OSError as error:
        raise LimbeckError(
            f"{path}: could not be written: {error.strerror}; finished files are kept, so run the "
            "same command again"
        ) from error


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _parse(claim: bytes) -> dict[str, Any]:
    try:
        value = json.loads(claim)
    except ValueError:  # its owner is writing it, or was killed before it could
        return {}
    return value if isinstance(value, dict) else {}
