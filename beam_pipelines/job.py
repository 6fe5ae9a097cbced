"""The frame of every command here: take the directories, run the pipeline, check, sign off.

A directory that is complete is left alone; one that a killed run left is gone on with, shard by
shard; one of other settings is refused. A manifest is written only when every count adds up.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam

from beam_pipelines.outcomes import Report, read_report
from beam_pipelines.progress import Progress
from beam_pipelines.runner import check_workers, run_pipeline
from beam_pipelines.sink import Target
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_write
from limbeck.records.manifest import Manifest, Provenance
from limbeck.records.writer import DatasetWriter
from prep.accounting import Accounting

__all__ = ["Finished", "Work", "dead_letters_path", "run_job"]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a pipeline needs beside its input."""

    targets: tuple[Target, ...]
    """Datasets to write."""
    scratch: str
    """Directory for the report."""
    progress: str
    """Where to tick; see `beam_pipelines.progress`."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One dataset, complete."""

    directory: str
    """Where it is."""
    manifest: Manifest
    """What it holds."""
    accounting: Accounting
    """What became of what went in."""
    already_complete: bool
    """Whether an earlier run had done it all."""
    seconds: float
    """Wall-clock time of this run."""


def run_job(
    build: Callable[[beam.Pipeline, Work], None],
    *,
    writers: Sequence[DatasetWriter],
    what: str,
    paths: Mapping[str, str],
    dead_letters: str = "",
    workers: int = 1,
    total: int | None = None,
    bundle_repeat: int = 0,
) -> list[Finished]:
    """Writes datasets with one pipeline; returns one result a writer, in order.

    Args:
      build: adds the pipeline's steps. It must count, for each writer of name NAME, `NAME/in`,
        `NAME/kept`, filters and dead letters as `prep.accounting` names them, and `NAME/rows`, the
        rows it handed to the sink; and write its report to the scratch directory.
      writers: of the datasets, not yet opened.
      what: name of the items that are counted, such as `pages`.
      paths: role -> path of what is read, for the record.
      dead_letters: file for what could not be used, removed when there is none; empty where
        nothing can be unusable.
      workers: processes.
      total: items that will go in, where that is known.
      bundle_repeat: see `run_pipeline`.

    Raises:
      UsageError: a directory belongs to another run.
      LimbeckError: the input is damaged, or the counts do not add up.
    """
    started = time.time()
    with before_work():
        check_workers(workers)
        for writer in writers:
            writer.open()
    manifests = [writer.finished() for writer in writers]
    if all(manifests):
        return [_complete(writer, m, started) for writer, m in zip(writers, manifests, strict=True)]
    targets = tuple(_target(writer, m) for writer, m in zip(writers, manifests, strict=True))
    with tempfile.TemporaryDirectory(prefix="limbeck-") as scratch:
        with Progress(scratch, what=what, total=total) as progress:
            work = Work(targets=targets, scratch=scratch, progress=progress.directory)
            run_pipeline(
                lambda pipeline: build(pipeline, work), workers=workers, bundle_repeat=bundle_repeat
            )
        report = read_report(scratch)
    if dead_letters:
        _write_dead_letters(dead_letters, report)
    provenance = Provenance.since(started, command=sys.argv, paths=paths, workers=workers)
    return [
        _complete(target.writer, manifest, started)
        if manifest is not None
        else _sign_off(target, report, what, provenance, started)
        for target, manifest in zip(targets, manifests, strict=True)
    ]


def _target(writer: DatasetWriter, manifest: Manifest | None) -> Target:
    shards = writer.done_shards() if manifest is None else dict(enumerate(manifest.content.shards))
    return Target(writer=writer, done={index: shard.records for index, shard in shards.items()})


def _complete(writer: DatasetWriter, manifest: Manifest | None, started: float) -> Finished:
    assert manifest is not None  # the callers have looked
    return Finished(
        directory=writer.directory,
        manifest=manifest,
        accounting=Accounting.from_json(manifest.content.accounting or {}),
        already_complete=True,
        seconds=time.time() - started,
    )


def _sign_off(
    target: Target, report: Report, what: str, provenance: Provenance, started: float
) -> Finished:
    """Checks the counts of one dataset and writes its manifest."""
    writer = target.writer
    prefix = f"{writer.name}/"
    counts = {
        name.removeprefix(prefix): count
        for name, count in report.counts.items()
        if name.startswith(prefix)
    }
    num_made = counts.pop("rows", 0)
    num_written = counts.pop("written", 0) + sum(target.done.values())
    accounting = Accounting.of(counts)
    accounting.check(what=what)
    if num_made != num_written:
        raise LimbeckError(
            f"{writer.directory}: {num_made} rows were made and {num_written} written; "
            "this is a bug, please report it"
        )
    manifest = writer.finish(accounting=accounting.to_json(), provenance=provenance)
    return Finished(
        directory=writer.directory,
        manifest=manifest,
        accounting=accounting,
        already_complete=False,
        seconds=time.time() - started,
    )


def dead_letters_path(out: str) -> str:
    """Returns the file beside an output directory where unusable items are listed."""
    return f"{os.path.abspath(out)}.dead-letters.jsonl"


def _write_dead_letters(path: str, report: Report) -> None:
    if report.dead_letters:
        atomic_write(path, "".join(f"{line}\n" for line in report.dead_letters).encode())
    elif os.path.exists(path):
        os.unlink(path)
