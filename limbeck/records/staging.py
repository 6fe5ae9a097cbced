"""Brings datasets to node-local disk: whole ones, every byte checked, under a byte budget.

Files are hashed while they are copied and compared with the manifest; the manifest comes last, and
only then does the directory get its name. A copy that was killed goes on with the files that it
has. Processes of one host that stage at once take turns: the first copies, the others find it done.
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from limbeck.config.errors import UsageError
from limbeck.records.directory import check_files
from limbeck.records.files import fsync_directory
from limbeck.records.manifest import MANIFEST
from limbeck.records.remote import is_remote
from limbeck.records.staging_copy import FILES_AT_ONCE, StagingOrder, bring, check_source
from limbeck.records.staging_source import StagedFile, open_source, staged_files
from limbeck.records.staging_store import StagingStore, bytes_below

__all__ = ["Staged", "Verify", "stage"]

Verify = Literal["quick", "full"]
Progress = Callable[[int, int], object]
"""Called, from several threads, with the bytes just gone through and the bytes of all datasets."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A dataset on local disk."""

    source: str
    """Where it came from."""

    path: str
    """Its directory, for recipes."""

    id: str
    """The dataset's id."""

    num_bytes: int
    """Of all its files."""

    copied_bytes: int
    """That were copied by this call; 0 where it was there."""


def stage(
    sources: Sequence[str],
    to: str,
    *,
    budget: int,
    verify: Verify = "quick",
    evict: bool = False,
    progress: Progress = lambda num_bytes, total: None,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Staged, ...]:
    """Makes sure that datasets lie below a local directory; quick where they do already.

    Args:
      sources: dataset directories, or `s3://bucket/prefix`.
      to: the local directory; made where it is not there.
      budget: most bytes of all files below it, whoever wrote them.
      verify: of what is there already, quick compares sizes and JSON files, full every SHA-256;
        what does not fit is copied again. What is copied is hashed in any case.
      evict: whether datasets that were asked for longest ago make room.
      progress: see `Progress`.
      say: takes lines about waiting and making room.

    Returns:
      One entry a source, in their order.

    Raises:
      UsageError: no such source, or it does not fit; nothing was copied.
      LimbeckError: a source is damaged, unfinished or was replaced meanwhile, or the disk is full;
        the dataset is not there then, and whole files of it are kept for the next call.
    """
    store = StagingStore(to)
    opened = [_opened(source, store) for source in sources]
    with store.lock(waiting=lambda: say(f"{to}: waiting for another process that stages here")):
        total = sum({order.target: order.num_bytes for order in opened}.values())
        report = _Report(progress, total)
        orders = {o.target: o for o in opened}
        orders = {path: _inspected(order, verify, report) for path, order in orders.items()}
        _make_room(store, list(orders.values()), budget=budget, evict=evict, say=say)
        for order in orders.values():
            if order.missing:
                bring(order, report)
                fsync_directory(store.directory)
            with contextlib.suppress(PermissionError):  # another user's
                os.utime(os.path.join(order.target, MANIFEST))  # when it was last asked for
    copied = {path: order.missing_bytes for path, order in orders.items()}
    return tuple(
        Staged(
            source=order.source.path,
            path=order.target,
            id=order.manifest.id,
            num_bytes=order.num_bytes,
            copied_bytes=copied.pop(order.target, 0),
        )
        for order in opened
    )


class _Report:
    """Adds up progress for one call."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._lock = progress, total, threading.Lock()

    def __call__(self, num_bytes: int) -> None:
        with self._lock:
            self._progress(num_bytes, self._total)


def _opened(path: str, store: StagingStore) -> StagingOrder:
    source = open_source(path)
    inside = f"{os.path.realpath(store.directory)}/"
    if not is_remote(path) and f"{os.path.realpath(path)}/".startswith(inside):
        raise UsageError(f"{path}: lies below {store.directory} already; name where it comes from")
    manifest = source.manifest()
    return StagingOrder(
        source=source,
        manifest=manifest,
        files=staged_files(manifest),
        target=store.target(source.path, manifest),
    )


def _inspected(order: StagingOrder, verify: Verify, report: _Report) -> StagingOrder:
    """The order with what is missing or damaged; all that is to be copied must be in the source.

    Raises:
      LimbeckError: a file of the source is missing or has another size; or files lie in the local
        directory that are none of the dataset's.
    """

    def is_missing(file: StagedFile) -> bool:
        good = _is_good(os.path.join(order.directory, file.name), file, verify)
        report(file.size if good else 0)
        return not good

    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        bad = list(pool.map(is_missing, order.files))
    missing = {file.name for file, is_bad in zip(order.files, bad, strict=True) if is_bad}
    if missing or order.directory != order.target:
        missing.add(MANIFEST)  # the last file is written again, and the directory named
    else:
        check_files(order.target, order.manifest.content)
    for file in order.files:
        if file.name in missing and file.content is None:
            check_source(order.source, file, order.source.size(file.name))
    return dataclasses.replace(order, missing=frozenset(missing))


def _is_good(path: str, file: StagedFile, verify: Verify) -> bool:
    try:
        if os.lstat(path).st_size != file.size or not os.path.isfile(path):
            return False
        with open(path, "rb") as there:
            if file.content is not None:
                return there.read() == file.content
            return verify == "quick" or (
                hashlib.file_digest(there, "sha256").hexdigest() == file.sha256
            )
    except OSError:
        return False


def _make_room(
    store: StagingStore,
    orders: Sequence[StagingOrder],
    *,
    budget: int,
    evict: bool,
    say: Callable[[str], object],
) -> None:
    """Refuses, before anything is written, what would not fit; makes room where that is allowed."""
    wanted = [order for order in orders if order.missing]
    if not wanted:
        return
    own = sum(bytes_below(order.directory) for order in wanted)
    others = store.used_bytes() - own
    need = sum(order.num_bytes for order in wanted)
    keep = [order.directory for order in orders]
    too_many = others + need - budget
    if too_many > 0 and not evict:
        raise UsageError(
            f"{store.directory}: --budget is {budget:,} bytes; {others:,} are taken and "
            f"{need:,} are needed for {_names(wanted)}: {too_many:,} too many; raise it to "
            f"{others + need:,}, or add --evict to remove datasets that were not asked for lately"
        )
    if too_many > 0:
        for gone in store.evict(too_many, keep=keep):
            say(f"{gone.path}: removed to make room ({gone.num_bytes:,} bytes)")
    more = sum(order.num_bytes for order in wanted) - own
    free = shutil.disk_usage(store.directory).free
    if more > free:
        raise UsageError(
            f"{store.directory}: {more:,} more bytes are needed for {_names(wanted)}, and the disk "
            f"has {free:,} free"
        )


def _names(orders: Sequence[StagingOrder]) -> str:
    return ", ".join(f"{order.source.path} ({order.num_bytes:,})" for order in orders)
