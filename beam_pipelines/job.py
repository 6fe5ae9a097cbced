"""The frame of every command here: take the directories, run the pipeline, check, sign off.

A directory that is complete is left alone; one that a killed run left is gone on with, shard by
shard; one of other settings, or in use by another process, is refused. A manifest is written only
when every count adds up.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam

from beam_pipelines.options import LOCAL, beam_flags
from beam_pipelines.outcomes import Report, read_report, too_many_dead_letters
from beam_pipelines.progress import Progress
from beam_pipelines.remote import RemoteWriter
from beam_pipelines.runner import check_runner, run_pipeline
from beam_pipelines.scratch import open_scratch
from beam_pipelines.sink import Target
from beam_pipelines.storage import delete_files, is_remote, use_options, write_bytes
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError, UsageError
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
    max_dead_letters: int | None = None
    """For the report, which stops the run early."""


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
    runner: str = LOCAL,
    beam_options: Sequence[str] = (),
    max_dead_letters: int | None = None,
    total: int | None = None,
    total_bytes: int | None = None,
    bundle_repeat: int = 0,
) -> list[Finished]:
    """Writes datasets with one pipeline; returns one result a writer, in order.

    Args:
      build: adds the pipeline's steps. It must count, for each writer of name NAME, `NAME/in`,
        `NAME/kept`, filters and dead letters as `prep.accounting` names them, and `NAME/rows`, the
        rows it handed to the sink; and write its report to the scratch directory.
      writers: of the datasets, not yet opened; a directory may be remote (`s3://...`).
      what: name of the items that are counted, such as `pages`.
      paths: role -> path of what is read, for the record.
      dead_letters: file for what could not be used, removed when there is none; empty where
        nothing can be unusable.
      workers: processes of the local runner.
      runner: see `RunOptions`; so are the next two.
      beam_options: of that runner and of Beam's file systems.
      max_dead_letters: more of them in one dataset are an error.
      total: items that will go in, where that is known.
      total_bytes: size of the input, where the pipeline says how much of it is read
        (`beam_pipelines.progress.found`).
      bundle_repeat: see `run_pipeline`.

    Raises:
      UsageError: a directory belongs to another run or process, or an option cannot be.
      LimbeckError: the input is damaged, there are too many dead letters, or the counts do not
        add up.
    """
    started = time.time()
    with contextlib.ExitStack() as held:
        with before_work():
            check_runner(runner, workers=workers, beam_options=beam_options)
            opened = _open(writers, runner=runner, beam_options=beam_options)
            manifests = [writer.finished() for writer in opened]
            if all(manifests):
                return [_complete(w, m, started) for w, m in zip(opened, manifests, strict=True)]
            for writer in opened:
                held.enter_context(writer.lock())
        manifests = [writer.finished() for writer in opened]  # now that nobody else writes there
        done = [_done(writer, m) for writer, m in zip(opened, manifests, strict=True)]
        place = next((w for w, m in zip(opened, manifests, strict=True) if m is None), opened[0])
        scratch = held.enter_context(open_scratch(place.directory, runner=runner))
        targets = tuple(
            Target(writer=writer, done=rows, spill=scratch.spill)
            for writer, rows in zip(opened, done, strict=True)
        )
        with Progress(scratch.watched, what=what, total=total, total_bytes=total_bytes) as progress:
            work = Work(
                targets=targets,
                scratch=scratch.report,
                progress=progress.directory,
                max_dead_letters=max_dead_letters,
            )
            run_pipeline(
                lambda pipeline: build(pipeline, work),
                workers=workers,
                runner=runner,
                beam_options=beam_options,
                bundle_repeat=bundle_repeat,
            )
        report = read_report(scratch.report)
        _tell_dead_letters(report, max_dead_letters, dead_letters)
        provenance = Provenance.since(started, command=sys.argv, paths=paths, workers=workers)
        return [
            _sign_off(target, report, what, provenance, started)
            if manifest is None
            else _complete(target.writer, manifest, started)
            for target, manifest in zip(targets, manifests, strict=True)
        ]


def _open(
    writers: Sequence[DatasetWriter], *, runner: str, beam_options: Sequence[str]
) -> list[DatasetWriter | RemoteWriter]:
    """Takes the directories; a remote one through Beam's file systems."""
    flags = tuple(beam_flags(beam_options))
    if flags:
        use_options(flags)
    opened: list[DatasetWriter | RemoteWriter] = []
    for writer in writers:
        if is_remote(writer.directory):
            opened.append(RemoteWriter(writer=writer, beam_options=flags))
        elif runner.lower().startswith("dataflow"):
            raise UsageError(f"{writer.directory}: {runner} cannot write here; give a gs:// path")
        else:
            opened.append(writer)
    for taken in opened:
        taken.open()
    return opened


def _done(writer: DatasetWriter | RemoteWriter, manifest: Manifest | None) -> dict[int, int]:
    """Returns the shards that an earlier run finished, and how many rows each holds."""
    shards = writer.done_shards() if manifest is None else dict(enumerate(manifest.content.shards))
    return {index: shard.records for index, shard in shards.items()}


def _complete(
    writer: DatasetWriter | RemoteWriter, manifest: Manifest | None, started: float
) -> Finished:
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
    return f"{out.rstrip('/') if is_remote(out) else os.path.abspath(out)}.dead-letters.jsonl"


def _tell_dead_letters(report: Report, limit: int | None, path: str) -> None:
    """Writes them to `path` if there is one; refuses to go on with more than the limit."""
    if path and report.dead_letters:
        write_bytes(path, "".join(f"{line}\n" for line in report.dead_letters).encode())
    elif path and is_remote(path):
        delete_files([path])
    elif path and os.path.exists(path):
        os.unlink(path)
    if limit is None:
        return
    if message := too_many_dead_letters(report.counts, limit):
        listed = f"; {path} lists them" if path else ""
        raise LimbeckError(
            f"{message}, so no manifest was written{listed}; mend the input, or raise the limit "
            "and run the command again"
        )
