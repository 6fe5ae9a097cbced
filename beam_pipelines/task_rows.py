"""The steps of the tasks pipeline: labelled files -> rows -> blocks of examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from beam_pipelines.example_rows import note, row_blocks
from beam_pipelines.outcomes import dead_letter
from beam_pipelines.progress import tick
from limbeck.tokens import load_tokenizer
from prep.accounting import DEAD, IN, KEPT
from prep.kinds.frame import frame_of
from prep.tasks.encoding import TaskEncoder
from prep.tasks.reading import read_rows
from prep.tasks.rows import Row
from prep.tasks.settings import TaskSettings

__all__ = ["EncodeRows", "LabelledFile", "ReadRows", "TaskJob", "make_encoder"]

FILE_BITS = 32  # a row's page number is its file's number, then its number in the file

_ROWS_AT_ONCE = 64  # of an element: enough to keep Beam's cost a row small


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """One file of a split."""

    split: str
    """Name of the split."""
    number: int
    """Of the file in its split."""
    path: str
    """Where it is."""


@dataclass(frozen=True, kw_only=True)
class TaskJob:
    """How files become examples."""

    settings: TaskSettings
    """Task, format, columns, lengths."""
    corpus: str
    """Part of the keys, before the split."""
    tokenizer: str
    """Tokenizer folder."""
    splits: tuple[str, ...]
    """As the sink numbers them."""
    unlabelled: frozenset[str]
    """Splits whose files hold no answers."""
    labels: tuple[str, ...]
    """Names in the order of their numbers."""
    num_shards: int
    """Of each split's dataset."""


def make_encoder(job: TaskJob) -> TaskEncoder:
    """Loads the tokenizer and returns what encodes rows.

    Raises:
      UsageError: the tokenizer cannot be used, or rows are too short for it.
    """
    tokenizer = load_tokenizer(job.tokenizer)
    return TaskEncoder(
        settings=job.settings,
        tokenizer=tokenizer,
        frame=frame_of(tokenizer, what=f"--task {job.settings.task}"),
        labels=job.labels,
    )


Rows = tuple[LabelledFile, list[Row]]


class ReadRows(beam.DoFn):
    """Files -> their rows, some at a time."""

    def __init__(self, job: TaskJob) -> None:
        super().__init__()
        self._job = job

    def process(self, file: LabelledFile) -> Iterator[Rows]:
        """Reads one file."""
        rows: list[Row] = []
        labelled = file.split not in self._job.unlabelled
        for row in read_rows(file.path, self._job.settings, labelled=labelled):
            rows.append(row)
            if len(rows) == _ROWS_AT_ONCE:
                yield file, rows
                rows = []
        if rows:
            yield file, rows


class EncodeRows(beam.DoFn):
    """Rows -> blocks of examples for the sink; outcomes of every row."""

    def __init__(self, job: TaskJob, progress: str) -> None:
        super().__init__()
        self._job = job
        self._progress = progress

    def setup(self) -> None:
        """Loads the tokenizer."""
        self._encoder = make_encoder(self._job)

    def process(self, element: Rows) -> Iterator[Any]:
        """Encodes some rows of one file."""
        file, rows = element
        split, job = file.split, self._job
        made = self._encoder.encode(
            rows, corpus=f"{job.corpus}/{split}", first_page=file.number << FILE_BITS
        )
        counts = {IN: len(rows), KEPT: made.kept, **made.filtered}
        outcomes = [(f"{split}/{name}", count, "") for name, count in counts.items()]
        outcomes += [note(split, name, count) for name, count in made.notes.items()]
        outcomes += [
            dead_letter(
                f"{split}/{DEAD}{bad.reason}",
                reason=bad.reason,
                file=file.path,
                where=bad.where,
                row=bad.number,
                detail=bad.detail,
            )
            for bad in made.bad
        ]
        for outcome in outcomes:
            yield beam.pvalue.TaggedOutput("outcomes", outcome)
        tick(self._progress, len(rows))
        if len(made.rows):
            yield from row_blocks(
                np.ascontiguousarray(made.rows),
                number=job.splits.index(split),
                num_shards=job.num_shards,
                dataset=split,
            )
