"""Copies what is missing of a dataset, hashes it on the way, and gives it its name at the end."""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import LimbeckError
from limbeck.records.directory import check_files
from limbeck.records.files import atomic_file, atomic_write
from limbeck.records.manifest import MANIFEST, Manifest
from limbeck.records.staging_source import PieceSource, StagedFile
from limbeck.records.staging_store import PARTIAL, in_use_by, remove

__all__ = ["FILES_AT_ONCE", "StagingOrder", "bring", "check_source"]

FILES_AT_ONCE = 4  # one reader seldom fills a network; hashing then takes a core each
Report = Callable[[int], object]
"""Called, from several threads, with the number of bytes just copied."""


@dataclass(frozen=True, kw_only=True)
class StagingOrder:
    """One dataset that is asked for, and what is there of it."""

    source: PieceSource
    """Where it comes from."""

    manifest: Manifest
    """What it is."""

    files: tuple[StagedFile, ...]
    """Its files, the manifest last."""

    target: str
    """Where it goes."""

    missing: frozenset[str] = frozenset()
    """Names of files that are not there, or not as they should be."""

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """Of the missing ones."""
        return sum(file.size for file in self.files if file.name in self.missing)

    @property
    def directory(self) -> str:
        """Where its files are, or will be first."""
        return self.target if os.path.isdir(self.target) else self.target + PARTIAL


def bring(order: StagingOrder, report: Report) -> None:
    """Copies what is missing and gives the dataset its name.

    Raises:
      LimbeckError: a file of the source is damaged, or the source was replaced; the disk is full;
        or a job reads the damaged copy that is to be mended.
    """
    partial = order.target + PARTIAL
    if order.directory == order.target:
        _take_back(order.target)
    os.makedirs(partial, exist_ok=True)
    _clear(partial, keep={file.name for file in order.files} - order.missing)
    try:
        _copy_all(order, partial, report)
        found = order.source.manifest().id
    except LimbeckError:
        _refuse_changed(order, partial)
        raise
    if found != order.manifest.id:
        _refuse_changed(order, partial)
    atomic_write(os.path.join(partial, MANIFEST), order.manifest.to_bytes())
    check_files(partial, order.manifest.content)
    os.rename(partial, order.target)


def _take_back(target: str) -> None:
    """Makes a damaged dataset a half one again."""
    if users := in_use_by(target):
        raise LimbeckError(
            f"{target}: damaged, and read by process {users[0]}; end that job, then stage again"
        )
    if os.path.exists(target + PARTIAL):
        remove(target + PARTIAL)
    os.rename(target, target + PARTIAL)


def _clear(partial: str, *, keep: set[str]) -> None:
    """Removes everything but whole files: what is damaged, and leftovers of killed processes."""
    for name in os.listdir(partial):
        path = os.path.join(partial, name)
        if name in keep:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _copy_all(order: StagingOrder, partial: str, report: Report) -> None:
    """Copies all files but the manifest; the first error in their order wins."""
    stop = threading.Event()

    def copy(file: StagedFile) -> None:
        try:
            _copy(order.source, file, os.path.join(partial, file.name), report, stop)
        except BaseException:
            stop.set()
            raise

    wanted = [f for f in order.files if f.name in order.missing and f.name != MANIFEST]
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="stage") as pool:
        futures = [pool.submit(copy, file) for file in wanted]
        try:
            for future in futures:
                future.result()
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise _cause(error, futures) from None


class _Stopped(Exception):
    """Another file's copy has failed."""


def _cause(error: BaseException, futures: Sequence[Future[Any]]) -> BaseException:
    """The error itself, or what the copy was stopped for."""
    if not isinstance(error, _Stopped):
        return error
    ended = [future.exception() for future in futures if not future.cancelled()]
    return next(e for e in ended if e is not None and not isinstance(e, _Stopped))


def _copy(
    source: PieceSource, file: StagedFile, path: str, report: Report, stop: threading.Event
) -> None:
    """Copies one file under a temporary name, and names it once its bytes are the right ones."""
    if file.content is not None:
        atomic_write(path, file.content)
        report(file.size)
        return
    digest, size = hashlib.sha256(), 0
    with atomic_file(path) as out:
        for piece in source.pieces(file):
            if stop.is_set():
                raise _Stopped
            size += len(piece)
            if size > file.size:
                break
            digest.update(piece)
            out.write(piece)
            report(len(piece))
        check_source(source, file, size)
        if digest.hexdigest() != file.sha256:
            raise LimbeckError(
                f"{source.path}/{file.name}: expected SHA-256 {file.sha256}, copied "
                f"{digest.hexdigest()}; it is damaged or was replaced: verify it (python -m "
                f"limbeck.records verify {source.path})"
            )


def _refuse_changed(order: StagingOrder, partial: str) -> None:
    """Says so, and keeps nothing, where the source is another dataset by now."""
    try:
        found = order.source.manifest().id
    except LimbeckError:
        return
    if found != order.manifest.id:
        shutil.rmtree(partial, ignore_errors=True)
        raise LimbeckError(
            f"{order.source.path}: was replaced while it was copied (id {order.manifest.id} "
            f"before, {found} now); nothing of it was staged: run the same command again"
        ) from None


def check_source(source: PieceSource, file: StagedFile, size: int | None) -> None:
    """Refuses a file of a source that has not the size that its manifest says, or is missing."""
    if size == file.size:
        return
    found = "it is missing" if size is None else f"found {size:,} bytes"
    raise LimbeckError(
        f"{source.path}/{file.name}: its manifest says {file.size:,} bytes, {found}; verify it "
        f"(python -m limbeck.records verify {source.path})"
    )
