"""Who does which shard: any number of processes over one output, coming and going as they like.

    with Claims(out, worker=parse_worker("auto")) as claims:
        ...open the writers of all families, with `shared=not worker.is_alone`...
        claims.watch(writers)
        while (shard := claims.take(pending)) is not None:
            ...write the shard of every family...
            claims.release(shard)

A claim is a file `OUT/.claims/00012` (`extract.claim_files`). Claims only save work: two workers
that do the same shard write the same bytes and rename them into place. A worker that is alone needs
none; it holds OUT for itself.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Protocol

from extract.claim_files import ClaimFiles
from extract.worker import Worker
from limbeck.config.errors import UsageError
from limbeck.records.directory import own_names
from limbeck.records.files import locked_file, remove_leftovers
from limbeck.records.manifest import MANIFEST, Manifest
from limbeck.records.writer import DatasetWriter

__all__ = ["CLAIMS", "Assigned", "Claims", "Shards", "clear_up"]

CLAIMS = ".claims"
LOCK = "lock"
TURN = "turn"
RENEWALS = 5  # of a claim within a lease: a process must be late four times to lose it
POLL_S = 0.5
CLEARING_S = 1.0  # how long the last worker to leave may hold the lock to itself


class Shards(Protocol):
    """Where a worker gets its shards from."""

    def take(self, pending: Iterable[int]) -> int | None:
        """Returns a shard to do; None: there is none now, or none at all if none is held."""

    def release(self, shard: int) -> None:
        """Gives a shard back, written or not."""

    def leave(self) -> None:
        """Ends every waiting for shards."""

    def finishing(self) -> contextlib.AbstractContextManager[None]:
        """Lets one worker at a time write manifests."""


class Assigned:
    """Shards that somebody else hands out, such as Beam."""

    def __init__(self, *shards: int) -> None:
        """Takes the shards of this worker."""
        self._shards = list(shards)

    def take(self, pending: Iterable[int]) -> int | None:
        """Returns the next one, whatever is pending; None after the last."""
        return self._shards.pop(0) if self._shards else None

    def release(self, shard: int) -> None:
        """Does nothing: nobody waits for it."""

    def leave(self) -> None:
        """Drops what was not taken."""
        self._shards.clear()

    def finishing(self) -> contextlib.AbstractContextManager[None]:
        """Lets the caller finish: nobody else does."""
        return contextlib.nullcontext()


class Claims:
    """The shards of one output that this process has for itself."""

    def __init__(self, out: str, *, worker: Worker, lease_s: float = 60.0) -> None:
        """Takes nothing yet.

        Args:
          out: directory of the families; made on entry.
          worker: which of how many; decides where in the shards it begins, and whether it is alone.
          lease_s: seconds without a renewal after which a claim is another's to take.
        """
        self._out = out
        self._directory = os.path.join(out, CLAIMS)
        self._worker = worker
        self._lease_s = lease_s
        self._files = ClaimFiles(self._directory, lease_s=lease_s, turn=self._turn)
        self._held: set[int] = set()
        self._done: set[int] = set()
        self._writers: Sequence[DatasetWriter] = ()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        self._stack = contextlib.ExitStack()
        self._unlock = contextlib.ExitStack()

    def __enter__(self) -> "Claims":
        """Takes OUT: for itself if the worker is alone, else together with other workers.

        Raises:
          UsageError: another process has it.
        """
        try:
            os.makedirs(self._out)
            self._stack.callback(_remove_if_empty, self._out)
        except FileExistsError:
            if not os.path.isdir(self._out):
                raise UsageError(f"{self._out}: is a file, not a directory") from None
        try:
            self._enter_lock(
                LOCK, "exclusive" if self._worker.is_alone else "shared", self._unlock, CLEARING_S
            )
        except BaseException:
            self._stack.close()
            raise
        if not self._worker.is_alone:
            self._thread = threading.Thread(target=self._keep, name="claims", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives all claims back; the last worker to leave clears up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for shard in list(self._held):
            self.release(shard)
        self._unlock.close()
        self._clear_up()
        self._stack.close()

    def watch(self, writers: Sequence[DatasetWriter]) -> None:
        """Says what a shard's being done means: that each of these writers has it."""
        self._writers = tuple(writers)

    def is_done(self, shard: int) -> bool:
        """Says whether a shard is written in every family, by whomever."""
        if shard in self._done:
            return True
        if not self._writers or not all(writer.has_shard(shard) for writer in self._writers):
            return False
        self._done.add(shard)
        return True

    def take(self, pending: Iterable[int]) -> int | None:
        """Returns the next shard to do, claimed; waits for those that others are at.

        Args:
          pending: all shards that were not done when this process looked first.

        Returns:
          One that nobody has; None if there is nothing to do now. Where this process holds
          shards itself, it gets None rather than wait: do those, then ask again. None with
          nothing held means that every shard is done.
        """
        order = self._order(list(pending))
        while not self._leaving.is_set():
            left = False
            for shard in order:
                if shard in self._held or self.is_done(shard):
                    continue
                left = True
                if self._claim(shard):
                    return shard
            if not left or self._held:
                return None
            self._leaving.wait(min(POLL_S, self._lease_s / RENEWALS))
        return None

    def leave(self) -> None:
        """Makes every `take`, also one that waits in another thread, return None."""
        self._leaving.set()

    def release(self, shard: int) -> None:
        """Gives a shard back, written or not."""
        with self._guard:
            self._held.discard(shard)
            if self._worker.is_alone:
                self._done.add(shard)
                return
            self._files.release(shard)

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Lets one worker at a time write manifests; look first whether they are there.

        One that stands still is waited for as long as a lease: to write them twice does no harm.
        """
        with self._turn(patience_s=self._lease_s):
            yield

    def _order(self, pending: list[int]) -> list[int]:
        """Each worker begins at its own share of the shards and goes round."""
        start = self._worker.index * len(pending) // self._worker.count
        return pending[start:] + pending[:start]

    def _claim(self, shard: int) -> bool:
        """Tries to take a shard that looks free; says whether it is ours and still to do."""
        with self._guard:
            if not self._worker.is_alone and not self._files.take(shard):
                return False
            self._held.add(shard)
        if self.is_done(shard):  # between our looking and our claiming
            self.release(shard)
            return False
        return True

    def _keep(self) -> None:
        """Renews what is held until the end; runs in a thread."""
        while not self._stop.wait(self._lease_s / RENEWALS):
            with self._guard:
                self._files.renew(self._held)

    @contextlib.contextmanager
    def _turn(self, patience_s: float = 0.0) -> Iterator[bool]:
        """Says whether the turn is ours; the patience is for whoever else has it."""
        with contextlib.ExitStack() as stack:
            try:
                self._enter_lock(TURN, "exclusive", stack, patience_s)
            except UsageError:
                yield False
                return
            yield True

    def _enter_lock(
        self,
        name: str,
        mode: Literal["exclusive", "shared"],
        stack: contextlib.ExitStack,
        patience_s: float,
    ) -> None:
        path, deadline = os.path.join(self._directory, name), time.monotonic() + patience_s
        while True:
            try:
                os.makedirs(self._directory, exist_ok=True)
                with open(path, "ab"):
                    pass
                stack.enter_context(locked_file(path, what=self._out, mode=mode))
                return
            except FileNotFoundError:
                pass  # the last worker of an earlier job has just cleared up
            except UsageError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(CLEARING_S / 20)

    def _clear_up(self) -> None:
        """Removes the claims, and what killed workers left in complete families, if alone."""
        path = os.path.join(self._directory, LOCK)
        with contextlib.suppress(UsageError, FileNotFoundError), locked_file(path, what=self._out):
            for writer in self._writers:
                if os.path.exists(os.path.join(writer.directory, MANIFEST)):
                    writer.remove_leftovers()
            names = sorted(os.listdir(self._directory), key=lambda name: name == LOCK)
            for name in names:  # the lock last: who has opened it meanwhile looks again
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._directory, name))
            _remove_if_empty(self._directory)


def clear_up(out: str, manifests: Mapping[str, Manifest]) -> None:
    """Removes what workers left that were killed after the last manifest was written.

    Call it where all families are complete; it does nothing while another process is at work.

    Args:
      out: directory of the families.
      manifests: name of each family, its directory below OUT, and its manifest.
    """
    if not os.path.isdir(os.path.join(out, CLAIMS)):
        return
    with contextlib.suppress(UsageError), Claims(out, worker=Worker()):
        for name, manifest in manifests.items():
            remove_leftovers(os.path.join(out, name), own_names(manifest.content.job))


def _remove_if_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)
