"""Labelled files -> examples of a task: `python -m beam_pipelines.tasks`."""

import dataclasses
import functools
import os
import re
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_pipelines.command import run_module, summarise
from beam_pipelines.documents import file_identity
from beam_pipelines.example_rows import assemble_examples
from beam_pipelines.job import Finished, Work, dead_letters_path, run_job
from beam_pipelines.options import LOWER_CASE, LowerCase, RunOptions
from beam_pipelines.outcomes import WriteReport
from beam_pipelines.sink import WriteShards
from beam_pipelines.task_rows import EncodeRows, LabelledFile, ReadRows, TaskJob, make_encoder
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.records.directory import JOB
from limbeck.records.manifest import Manifest
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import load_tokenizer, save_tokenizer
from prep.tasks.encoding import TaskEncoder
from prep.tasks.labels import names_of, sorted_labels
from prep.tasks.reading import read_rows
from prep.tasks.settings import TaskFormat, TaskName, TaskSettings

__all__ = ["TasksSettings", "main", "tasks"]

PROG = "beam_pipelines.tasks"
DESCRIPTION = (
    "Make examples of labelled files (plain, bz2, gz or xz): OUT/SPLIT for each split that --input "
    "names, and OUT/tokenizer. Rows that cannot be used are listed beside OUT with their lines. "
    "Run it again after an interruption and it goes on; run it after its end and it does nothing."
)

_SPLIT = re.compile(r"[a-z][a-z0-9_]*")
_TOKENIZER = "tokenizer"
_MAX_FILES = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class TasksSettings(RunOptions):
    """Options of the command."""

    input: tuple[str, ...]
    """SPLIT=FILE each, such as train=train.tsv dev=dev.tsv; files of one split in order. Splits
    stay as they are given."""
    task: TaskName
    """classification: one label a row; multi-label: any number; regression: a number; tagging: a
    tag for each word; qa: the span of a context that answers a question."""
    vocab: str
    """Tokenizer folder, or a WordPiece vocabulary file."""
    corpus: str
    """Corpus name: part of each row's key."""
    out: str
    """Directory for the splits and tokenizer/."""
    format: TaskFormat = "tsv"
    """tsv: no quoting; csv: quoted; jsonl: an object a line; conll: a word a line; squad: JSON."""
    header: bool = True
    """tsv and csv: the first line names the columns. Without one they are numbered from 1."""
    text: str = "text"
    """Column (or member) of the text or of its words. conll: a number, the first by default."""
    text_pair: str = ""
    """Column of the second text; empty for rows of one text."""
    label: str = "label"
    """Column of the label, or of the words' tags. conll: a number, the last by default."""
    label_separator: str = ","
    """multi-label in tables: stands between the labels of a row."""
    labels: tuple[str, ...] = ()
    """Names of the labels, in the order of their numbers. Empty: those of all files, sorted."""
    unlabelled: tuple[str, ...] = ()
    """Splits whose files hold no answers, such as a test or a transfer set."""
    lower_case: LowerCase = "auto"
    """WordPiece: lower-case the text and strip accents. auto: as the folder says, yes for a lone
    vocab.txt."""
    max_seq_length: int = 128
    """Tokens of a row, special ones included; longer texts lose their ends, which is counted."""
    max_query_length: int = 64
    """qa: tokens of the question; the rest is left out."""
    doc_stride: int = 128
    """qa: tokens of the context from the start of one window to the next."""
    label_all_pieces: bool = False
    """tagging: every piece of a word gets its tag, not just the first."""
    num_shards: int = 1
    """Number of shards of each split."""


def tasks(settings: TasksSettings, *, bundle_repeat: int = 0) -> dict[str, Manifest]:
    """Makes the examples of labelled files and returns the manifests by split.

    Raises:
      UsageError: an option, a file or the output directory cannot be used.
      LimbeckError: a file turns out to be damaged, or too many rows cannot be used.
    """
    finished = _run(settings, bundle_repeat=bundle_repeat)
    return {split: dataset.manifest for split, dataset in finished.items()}


def _run(settings: TasksSettings, *, bundle_repeat: int = 0) -> dict[str, Finished]:
    with before_work():
        how = _task_settings(settings)
        files = _files(settings)
        splits = tuple(dict.fromkeys(file.split for file in files))
        tokenizer = load_tokenizer(settings.vocab, lower_case=LOWER_CASE[settings.lower_case])
        if os.path.exists(os.path.join(settings.out, JOB)):
            raise UsageError(f"{settings.out}: is a dataset itself; choose another --out")
        job = TaskJob(
            settings=how,
            corpus=settings.corpus,
            tokenizer=os.path.join(settings.out, _TOKENIZER),
            splits=splits,
            unlabelled=frozenset(settings.unlabelled),
            labels=(),
            num_shards=settings.num_shards,
        )
        labels, total = _survey(files, job)
        job = dataclasses.replace(job, labels=labels)
        save_tokenizer(tokenizer, job.tokenizer)
        encoder = make_encoder(job)
        writers = [_writer(settings, split, files, job, encoder) for split in splits]
    finished = run_job(
        lambda pipeline, work: _build(pipeline, work, job, files, encoder),
        writers=writers,
        what="rows",
        dead_letters=dead_letters_path(settings.out),
        paths={f"{file.split} {file.number}": file.path for file in files},
        total=total,
        bundle_repeat=bundle_repeat,
        **settings.run_arguments(),
    )
    return dict(zip(splits, finished, strict=True))


def _task_settings(settings: TasksSettings) -> TaskSettings:
    names = (field.name for field in dataclasses.fields(TaskSettings))
    return TaskSettings(**{name: getattr(settings, name) for name in names})


def _files(settings: TasksSettings) -> list[LabelledFile]:
    """Returns the files that --input names."""
    if not settings.corpus:
        raise UsageError("corpus is empty; it names the rows")
    files: list[LabelledFile] = []
    for entry in settings.input:
        split, _, path = entry.partition("=")
        if not path or not _SPLIT.fullmatch(split) or split == _TOKENIZER:
            raise UsageError(f"--input {entry}: expected SPLIT=FILE, such as train=train.tsv")
        number = sum(file.split == split for file in files)
        files.append(LabelledFile(split=split, number=number, path=path))
    if not 1 <= len(files) <= _MAX_FILES:
        raise UsageError(f"{len(files)} input files; give 1 to {_MAX_FILES}")
    for split in settings.unlabelled:
        if split not in {file.split for file in files}:
            raise UsageError(f"--unlabelled {split}: --input names no file of that split")
    return files


def _survey(files: Sequence[LabelledFile], job: TaskJob) -> tuple[tuple[str, ...], int]:
    """Reads all files once: returns the labels, and how many rows there are."""
    names: set[str] = set()
    total = 0
    for file in files:
        found = 0
        for row in read_rows(file.path, job.settings, labelled=file.split not in job.unlabelled):
            names.update(names_of(row))
            found += 1
        if not found:
            raise UsageError(f"{file.path}: no rows in it")
        total += found
    if not job.settings.has_labels:
        return (), total
    return job.settings.labels or sorted_labels(names), total


def _writer(
    settings: TasksSettings,
    split: str,
    files: Sequence[LabelledFile],
    job: TaskJob,
    encoder: TaskEncoder,
) -> DatasetWriter:
    if settings.num_shards < 1:
        raise UsageError(f"num_shards is {settings.num_shards}; it must be at least 1")
    content: dict[str, Any] = {
        **job.settings.content(),
        "corpus": job.corpus,
        "split": split,
        "labelled": split not in job.unlabelled,
        "files": [file_identity(file.path) for file in files if file.split == split],
    }
    if job.settings.has_labels:
        content["labels"] = list(job.labels)
    return DatasetWriter(
        os.path.join(settings.out, split),
        name=split,
        kind="examples",
        layout=job.settings.layout(
            vocab_size=encoder.tokenizer.vocab_size, num_labels=len(job.labels)
        ),
        num_shards=settings.num_shards,
        settings=content,
        tokenizer=encoder.tokenizer.info(),
    )


def _build(
    pipeline: beam.Pipeline,
    work: Work,
    job: TaskJob,
    files: Sequence[LabelledFile],
    encoder: TaskEncoder,
) -> None:
    encoded = (
        pipeline
        | "Files" >> beam.Create(list(files))
        | "Spread files" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(ReadRows(job))
        | "Spread rows" >> beam.Reshuffle()
        | "Encode"
        >> beam.ParDo(EncodeRows(job, work.progress)).with_outputs("outcomes", main="examples")
    )
    assemble = functools.partial(
        assemble_examples,
        dtype=encoder.dtype,
        vocab_size=encoder.tokenizer.vocab_size,
        num_labels=len(job.labels) if job.settings.has_labels else None,
    )
    written = encoded.examples | "Write" >> WriteShards(work.targets, assemble)
    (encoded.outcomes, written) | "Report" >> WriteReport(
        work.scratch, max_dead_letters=work.max_dead_letters
    )


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(TasksSettings, argv, prog=PROG, description=DESCRIPTION)
    finished = _run(settings)
    where = dead_letters_path(settings.out)
    print(summarise(list(finished.values()), what="rows", dead_letters=where))


if __name__ == "__main__":
    run_module(PROG)
