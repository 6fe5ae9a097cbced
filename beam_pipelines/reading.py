"""What the commands share that read a documents dataset and write no dataset: rows to sentences."""

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from beam_pipelines.progress import tick
from limbeck.records.dataset import open_dataset

__all__ = ["EACH", "ReadSentences", "groups_of_rows"]

EACH = 256
"""Rows of documents that one element carries."""


def groups_of_rows(rows: npt.NDArray[np.int64]) -> list[list[int]]:
    """Returns the rows as elements of a pipeline."""
    return [rows[begin : begin + EACH].tolist() for begin in range(0, len(rows), EACH)]


class ReadSentences(beam.DoFn):
    """Groups of rows -> the sentences of each document, a list a document."""

    def __init__(self, documents: str, progress: str) -> None:
        super().__init__()
        self._directory = documents
        self._progress = progress

    def setup(self) -> None:
        """Opens the documents."""
        self._documents = open_dataset(self._directory, kind="documents")

    def teardown(self) -> None:
        """Closes the documents."""
        self._documents.close()

    def process(self, rows: Sequence[int]) -> Iterator[Any]:
        """Yields the sentences of each document."""
        for row in rows:
            yield self._documents.record(row)["sentences"]
            tick(self._progress)
