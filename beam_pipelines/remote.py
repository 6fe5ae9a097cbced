"""A dataset written to a remote file system: `RemoteWriter` stands for a `DatasetWriter` there.

A worker writes a shard into a directory of its own on local disk, then copies data, index and,
last, JSON under their final names. What is there is judged by a *mirror*: a local directory with
the same names, the same small files, and empty (sparse) files of the same size in place of the
large ones. So every rule about what a dataset directory may hold is the one of `DatasetWriter`.

Of a shard that an earlier run finished, size and JSON are checked, not its bytes. There is no lock:
two runs of one job write the same objects, whole, and do each other no harm. Readers need a local
copy.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beam_pipelines.storage import (
    join,
    list_files,
    read_bytes,
    upload_file,
    use_options,
    write_bytes,
)
from limbeck.config.errors import LimbeckError
from limbeck.records.directory import JOB
from limbeck.records.manifest import MANIFEST, Manifest, Provenance
from limbeck.records.resume import check_taken, read_summary
from limbeck.records.shard import ShardSummary
from limbeck.records.writer import DatasetWriter, RowBatch

__all__ = ["RemoteWriter"]

_THREADS = 16  # for small files, each a round trip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteWriter:
    """A dataset directory on a remote file system, being written."""

    writer: DatasetWriter
    """Settings of the dataset; its directory is the remote one."""
    beam_options: tuple[str, ...] = ()
    """Flags for Beam's file systems."""

    @property
    def directory(self) -> str:
        """Where."""
        return self.writer.directory

    @property
    def name(self) -> str:
        """Dataset name."""
        return self.writer.name

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return self.writer.num_shards

    def open(self) -> None:
        """Takes the directory for this job; see `DatasetWriter.open`."""
        with self._mirror() as mirror:
            mirror.open()
            if JOB not in list_files(self.directory):
                write_bytes(join(self.directory, JOB), mirror.job.to_bytes())

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Does nothing: see the module."""
        return contextlib.nullcontext()

    def finished(self) -> Manifest | None:
        """Returns the manifest if this job is complete; see `DatasetWriter.finished`."""
        with self._mirror() as mirror:
            return mirror.finished()

    def done_shards(self) -> dict[int, ShardSummary]:
        """Returns the shards whose JSON is there and whose files have the sizes that it says."""
        sizes = list_files(self.directory)
        done = {}
        with self._mirror() as mirror:
            for index in range(self.num_shards):
                # Unreadable or another job's: written again, and refused at the end if it stays.
                with contextlib.suppress(LimbeckError):
                    shard = read_summary(mirror.directory, mirror.job, index)
                    if shard is not None and _has_sizes(shard, sizes):
                        done[index] = shard
        return done

    def write_batches(self, index: int, batches: Iterable[RowBatch]) -> ShardSummary:
        """Writes one shard; see `DatasetWriter.write_batches`."""
        self._use_options()
        with tempfile.TemporaryDirectory(prefix="limbeck-shard-") as scratch:
            local = dataclasses.replace(self.writer, directory=scratch)
            local.open()
            summary = local.write_batches(index, batches)
            for name in (summary.name, summary.index_name, summary.json_name):
                upload_file(os.path.join(scratch, name), join(self.directory, name))
        return summary

    def finish(
        self, accounting: Mapping[str, Any] | None = None, provenance: Provenance | None = None
    ) -> Manifest:
        """Checks presence and sizes of all files, then writes `manifest.json`."""
        with self._mirror() as mirror:
            check_taken(mirror.directory, mirror.job)
            manifest = mirror.finish(accounting=accounting, provenance=provenance)
            if MANIFEST not in list_files(self.directory):
                write_bytes(join(self.directory, MANIFEST), manifest.to_bytes())
            return manifest

    @contextlib.contextmanager
    def _mirror(self) -> Iterator[DatasetWriter]:
        self._use_options()
        with tempfile.TemporaryDirectory(prefix="limbeck-mirror-") as scratch:
            mirror = os.path.join(scratch, "dataset")
            os.mkdir(mirror)
            self._fill(mirror)
            try:
                yield dataclasses.replace(self.writer, directory=mirror)
            except LimbeckError as error:
                raise type(error)(str(error).replace(mirror, self.directory)) from error

    def _fill(self, mirror: str) -> None:
        small = []
        for name, size in list_files(self.directory).items():
            if name.endswith(".json"):
                small.append(name)
            else:
                with open(os.path.join(mirror, name), "wb") as file:
                    file.truncate(size)
        with ThreadPoolExecutor(_THREADS) as pool:
            contents = pool.map(lambda name: read_bytes(join(self.directory, name)), small)
            for name, data in zip(small, contents, strict=True):
                with open(os.path.join(mirror, name), "wb") as file:
                    file.write(data)

    def _use_options(self) -> None:
        if self.beam_options:
            use_options(self.beam_options)


def _has_sizes(shard: ShardSummary, sizes: Mapping[str, int]) -> bool:
    return (sizes.get(shard.name), sizes.get(shard.index_name)) == (shard.bytes, shard.index_bytes)
