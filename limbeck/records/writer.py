"""Writes a dataset directory: shard by shard, in any order, by any number of processes.

    writer = DatasetWriter(out, name="train", kind="examples", layout=layout, num_shards=64, ...)
    writer.open()
    if writer.finished() is None:
        done = writer.done_shards()
        for index in range(64):
            if index not in done:
                writer.write_shard(index, rows_of(index))
        writer.finish(accounting=counts)

The same rows give the same bytes, however often and by whomever they are written: rows are placed
by their keys alone, so a killed run goes on where it stopped and two attempts at a shard do no
harm. The writer is a frozen value: pickle it and send it to the workers.
"""

# N rows of a shard

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.canonical import differences
from limbeck.records.directory import (
    JOB,
    check_files,
    describe_foreign,
    foreign_files,
    own_names,
)
from limbeck.records.files import atomic_write, create_once, locked_file, remove_leftovers
from limbeck.records.job import Job, describe_attachments
from limbeck.records.layout import Layout
from limbeck.records.manifest import MANIFEST, Content, Manifest, Provenance, read_manifest
from limbeck.records.resume import check_taken, finished_shards, job_there, read_summary
from limbeck.records.selection import Selection
from limbeck.records.shard import ShardSummary, shard_files
from limbeck.records.shard_writer import write_shard_files
from limbeck.records.sorted_rows import RowBatch, Rows

__all__ = ["DatasetWriter", "RowBatch", "Rows"]


@dataclasses.dataclass(frozen=True)
class DatasetWriter:
    """A dataset directory being written."""

    directory: str
    """Where; made by `open`."""
    _: dataclasses.KW_ONLY
    name: str
    """Dataset name, the start of its files' names."""
    kind: str
    """'documents', 'examples' or 'labels'."""
    layout: Layout
    """Feature table."""
    num_shards: int
    """Number of shards; part of the dataset's id."""
    settings: Mapping[str, Any]
    """Every setting that affects content."""
    parents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Role -> dataset id of each dataset that this one is made from."""
    tokenizer: Mapping[str, Any] | None = None
    """Tokenizer kind, fingerprint, vocab_size."""
    teacher: Mapping[str, Any] | None = None
    """Teacher fingerprint and shape."""
    seed: int | None = None
    """Seed of every random choice."""
    attachments: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """File name -> content of what lies beside the shards, such as a decoder matrix."""
    shared: bool = False
    """Whether other processes write here too, perhaps the same shards at the same time: then their
    files in the making are left alone, and that one of them was faster is no error."""

    def __post_init__(self) -> None:
        """Checks the settings by making the job of them."""
        object.__setattr__(self, "directory", os.fspath(self.directory))
        _ = self.job

    @functools.cached_property  # attachments are hashed for it
    def job(self) -> Job:
        """Every setting that decides the bytes."""
        return Job(
            name=self.name,
            kind=self.kind,
            layout=self.layout,
            num_shards=self.num_shards,
            settings=dict(self.settings),
            parents=dict(self.parents),
            tokenizer=None if self.tokenizer is None else dict(self.tokenizer),
            teacher=None if self.teacher is None else dict(self.teacher),
            seed=self.seed,
            attachments=describe_attachments(self.attachments),
        )

    def check(self) -> None:
        """Checks that `open` could take the directory; writes nothing.

        Raises:
          UsageError: the directory holds another job's output (listing what differs), files that
            are not ours, lies inside another dataset, or is no directory.
        """
        job = self.job
        parent = os.path.dirname(os.path.abspath(self.directory))
        if os.path.exists(os.path.join(parent, JOB)):
            raise UsageError(
                f"{parent}: is a dataset itself, and {self.directory} would lie inside it; "
                "choose another --out"
            )
        if not os.path.lexists(self.directory):
            return
        if not os.path.isdir(self.directory):
            raise UsageError(f"{self.directory}: is a file, not a directory")
        foreign = foreign_files(self.directory, job)
        there = job_there(self.directory)
        differs = job.differences(there) if there is not None else []
        if differs:
            raise UsageError(
                f"{self.directory} holds another run's output: {'; '.join(differs)}; "
                "choose another --out or delete it"
            )
        if foreign:
            raise UsageError(
                f"{self.directory}: holds files that are not this dataset's: "
                f"{describe_foreign(foreign, job)}; choose another --out or move them"
            )
        if there is None and any(n in own_names(job) for n in os.listdir(self.directory)):
            raise UsageError(
                f"{self.directory}: holds shards and no {JOB}, so nobody knows what they are; "
                "choose another --out or delete it"
            )

    def open(self) -> None:
        """Makes the directory, takes it for this job, and writes the attachments.

        Raises:
          UsageError: as `check` does.
        """
        self.check()
        path = os.path.join(self.directory, JOB)
        try:
            os.makedirs(self.directory, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(f"{self.directory}: is a file, not a directory") from error
        if not os.path.exists(path):
            create_once(path, self.job.to_bytes())
            self.check()  # another job may have been faster
        for name, data in self.attachments.items():
            _write_if_other(os.path.join(self.directory, name), data)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory for this process; the system lets go however the process ends.

        Call `open` first. A file system that knows no locks gives none, with a warning.

        Raises:
          UsageError: another process holds it (naming it where the system tells).
        """
        with locked_file(os.path.join(self.directory, JOB), what=self.directory):
            yield

    def finished(self) -> Manifest | None:
        """Returns the manifest if this job is complete, None if there is work left.

        Raises:
          LimbeckError: there is a manifest, and the directory is not what it says.
        """
        try:
            manifest = read_manifest(self.directory)
        except FileNotFoundError:
            return None
        differs = self.job.differences(manifest.content.job.to_json())
        if differs:
            raise LimbeckError(
                f"{self.directory}: {MANIFEST} is another run's: {'; '.join(differs)}; "
                "choose another --out or delete the directory"
            )
        if not self.shared:
            self.remove_leftovers()  # of a worker that was killed while others completed it
        check_files(self.directory, manifest.content, temporary=self._temporary)
        return manifest

    def has_shard(self, index: int) -> bool:
        """Says whether the JSON of a shard is there, which is written last; reads no data."""
        try:
            return read_summary(self.directory, self.job, index) is not None
        except LimbeckError:
            return False  # damaged: to be written again

    def done_shards(self, share: tuple[int, int] = (0, 1)) -> dict[int, ShardSummary]:
        """Returns the finished shards, each byte of them read and hashed.

        Removes leftovers of killed processes unless `shared`, so call it once, before workers
        start. A shard whose bytes are not what its JSON says is reported as not done, with a
        warning; if `shared`, its JSON is removed, so that nobody takes it for done.

        Args:
          share: (i, n): reads the data of every n-th shard from the i-th on, and believes the JSON
            of the others, whose data n - 1 other workers read.
        """
        job = self.job
        if not self.shared:
            self.remove_leftovers()
        found = finished_shards(self.directory, job, share)
        for index in found.damaged if self.shared else ():
            with contextlib.suppress(FileNotFoundError):
                json_name = shard_files(self.name, index, self.num_shards)[2]
                os.unlink(os.path.join(self.directory, json_name))
        return found.done

    def remove_leftovers(self) -> None:
        """Removes what killed processes left; call it where no other process writes."""
        remove_leftovers(self.directory, own_names(self.job))

    def write_shard(
        self,
        index: int,
        rows: Rows,
        *,
        lengths: npt.ArrayLike | None = None,
        labelled_positions: int = 0,
        parent_rows: npt.ArrayLike | None = None,
        parent_records: int | None = None,
    ) -> ShardSummary:
        """Writes one shard: data, then index, then its JSON, each whole or not at all.

        Args:
          index: number of the shard.
          rows: all rows of the shard, in any order; sorted here by (order_hash, key).
          lengths: (N,) tokens of each row, in the order of `rows`; None leaves the column out.
          labelled_positions: positions that carry a label, over all rows.
          parent_rows: (N,) of a family that labels only some rows: which rows of the parent's
            shard, numbered from 0, they are; in any order, since keys place them alike in both.
          parent_records: rows of the parent's shard; goes with `parent_rows`.

        Raises:
          LimbeckError: a key occurs twice or belongs to another shard, or the disk is full.
          ValueError: a field is missing, unknown, or of another dtype or shape; or the parent's
            rows are not N different ones of its shard.
        """
        batch = RowBatch(rows=rows, lengths=lengths, labelled_positions=labelled_positions)
        return self.write_batches(
            index, [batch], parent_rows=parent_rows, parent_records=parent_records
        )

    def write_batches(
        self,
        index: int,
        batches: Iterable[RowBatch],
        *,
        parent_rows: npt.ArrayLike | None = None,
        parent_records: int | None = None,
    ) -> ShardSummary:
        """Writes one shard as `write_shard` does, of rows that come in batches.

        No more than two batches and the shard's index are held in memory; the bytes do not depend
        on how the rows are cut into batches. More than one batch needs the shard's size once more
        on the disk while it is being written.

        Args:
          index: number of the shard.
          batches: all rows of the shard, in any order.
          parent_rows: as for `write_shard`, of all batches together.
          parent_records: as for `write_shard`.

        Raises:
          LimbeckError: as `write_shard`.
          ValueError: as `write_shard`; or some batches have lengths and others have not.
        """
        check_taken(self.directory, self.job)
        if os.path.exists(os.path.join(self.directory, MANIFEST)):
            if self.shared and (there := read_summary(self.directory, self.job, index)):
                return there
            raise LimbeckError(
                f"{self.directory}: complete already; delete {MANIFEST} to write a shard again"
            )
        if (parent_rows is None) != (parent_records is None):
            raise ValueError("parent_rows and parent_records go together")
        selection = None
        if parent_rows is not None and parent_records is not None:
            selection = Selection.of(np.asarray(parent_rows), parent_records)
        try:
            return write_shard_files(self.directory, self.job, index, batches, selection)
        except (LimbeckError, FileNotFoundError):
            # Whoever completed the dataset meanwhile has cleared our files away.
            if self.shared and (there := read_summary(self.directory, self.job, index)):
                return there
            raise

    def finish(
        self, accounting: Mapping[str, Any] | None = None, provenance: Provenance | None = None
    ) -> Manifest:
        """Writes `manifest.json`, after which the directory is a dataset and nothing is added.

        Args:
          accounting: items in, kept, and filtered by reason; part of the dataset's id.
          provenance: who wrote it; no part of the id.

        Raises:
          LimbeckError: a shard is missing, or the directory holds what is not ours.
        """
        job = self.job
        check_taken(self.directory, job)
        found = {i: read_summary(self.directory, job, i) for i in range(self.num_shards)}
        missing = [index for index, summary in found.items() if summary is None]
        if missing:
            raise LimbeckError(
                f"{self.directory}: {len(missing)} of {self.num_shards} shards are not written, "
                f"first shard {missing[0]}; run the command again"
            )
        content = Content(
            kind=self.kind,
            name=self.name,
            layout=self.layout,
            shards=tuple(summary for summary in found.values() if summary is not None),
            settings=job.settings,
            parents=job.parents,
            tokenizer=job.tokenizer,
            teacher=job.teacher,
            seed=self.seed,
            accounting=None if accounting is None else dict(accounting),
            attachments=job.attachments,
        )
        if not self.shared:
            self.remove_leftovers()
        check_files(self.directory, content, temporary=self._temporary)
        manifest = self._commit(Manifest(content=content, provenance=provenance or Provenance()))
        self.remove_leftovers()  # who is still writing a shard once more takes it as it is there
        return manifest

    @property
    def _temporary(self) -> Literal["refused", "allowed"]:
        return "allowed" if self.shared else "refused"

    def _commit(self, manifest: Manifest) -> Manifest:
        path = os.path.join(self.directory, MANIFEST)
        try:
            there = read_manifest(self.directory)
        except FileNotFoundError:
            try:
                atomic_write(path, manifest.to_bytes())
                return manifest
            except (LimbeckError, FileNotFoundError):
                if not (self.shared and os.path.exists(path)):
                    raise
                there = read_manifest(self.directory)  # cleared away by whoever wrote it first
        if there.id != manifest.id:
            differs = differences(there.content.to_json(), manifest.content.to_json())
            raise LimbeckError(f"{path}: is there and differs: {'; '.join(differs)}; delete it")
        return there


def _write_if_other(path: str, data: bytes) -> None:
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        pass
    atomic_write(path, data)
