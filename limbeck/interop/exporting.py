"""Exports our datasets as foreign records: one TFRecord file, in the order of the rows' keys.

The order of keys is that of the text where pages were prepared here, and an imported file's own
order where it was the only one. Records are serialised deterministically; equal datasets give
equal files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from limbeck.config.command import before_work
from limbeck.config.errors import UsageError
from limbeck.interop.bert import from_examples
from limbeck.interop.features import check_rows
from limbeck.interop.first_seed import from_labels
from limbeck.labels.family import read_fitted
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import SparseSignal
from limbeck.records.dataset import Dataset, check_rows_match, open_dataset
from limbeck.records.example import encode_example
from limbeck.records.examples import refuse_unmasked
from limbeck.records.files import atomic_file
from limbeck.records.keys import KEY_BYTES, input_digest
from limbeck.records.tfrecord import frame

__all__ = ["ExportSettings", "export_records"]

CHUNK_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """What to export, as what, and where to."""

    schema: Literal["bert", "first-seed"]
    """bert: pre-training records. first-seed: those with a teacher's top probabilities."""

    examples: str
    """Dataset directory of kind examples."""

    out: str
    """TFRecord file to write; it must not be there yet."""

    labels: str | None = None
    """Sparse label family of those examples; first-seed only."""

    next_sentence: bool = True
    """Whether the records carry next_sentence_labels."""

    def __post_init__(self) -> None:
        """Refuses options that contradict each other."""
        if (self.schema == "first-seed") != (self.labels is not None):
            raise ValueError("--labels goes with schema first-seed, and only with it")
        if self.schema == "first-seed" and not self.next_sentence:
            raise ValueError("records of schema first-seed always have next_sentence_labels")


def export_records(settings: ExportSettings) -> int:
    """Writes the file and returns the number of records.

    Raises:
      UsageError: nothing was written: unusable datasets, or `out` is there already.
      LimbeckError: a row is damaged, has no next-sentence label, or a label of another input.
    """
    with before_work():
        out = Path(settings.out)
        if out.exists():
            raise UsageError(f"{out}: is there already; choose another --out or delete it")
        if not out.absolute().parent.is_dir():
            raise UsageError(f"{out}: there is no directory {out.parent}")
        examples = open_dataset(settings.examples, kind="examples")
        refuse_unmasked(examples.layout, examples=settings.examples, who="the BERT schema")
        labels, fitted = None, None
        if settings.labels is not None:
            labels = open_dataset(settings.labels, kind="labels")
            check_rows_match(examples, labels)
            fitted = _sparse(labels)
    with atomic_file(out) as file:
        for record in _records(settings, examples, labels, fitted):
            file.write(frame(encode_example(record)))
    num_rows = examples.num_rows
    examples.close()
    if labels is not None:
        labels.close()
    return num_rows


def _records(
    settings: ExportSettings,
    examples: Dataset,
    labels: Dataset | None,
    fitted: Fitted | None,
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yields one dict of features a row, in the order of keys."""
    order = _key_order(examples.keys(np.arange(examples.num_rows)))
    with tqdm(total=len(order), desc="export", unit=" records", disable=None) as bar:
        for start in range(0, len(order), CHUNK_ROWS):
            numbers = order[start : start + CHUNK_ROWS]

            def where(row: int, numbers: npt.NDArray[np.int64] = numbers) -> str:
                return f"{examples.directory}: row {numbers[row]}"

            rows = examples.read(numbers)
            columns = from_examples(rows, next_sentence=settings.next_sentence, where=where)
            if labels is not None and fitted is not None:
                theirs = labels.read(numbers)
                another = (theirs["key"] != rows["key"]).any(axis=1)
                another |= (theirs["digest"] != _digest(rows)).any(axis=1)
                check_rows(where, (another, f"{labels.directory} labels another input there"))
                columns |= from_labels(theirs, fitted)
            for row in range(len(numbers)):
                yield {name: values[row] for name, values in columns.items()}
            bar.update(len(numbers))


def _sparse(labels: Dataset) -> Fitted:
    fitted = read_fitted(labels)
    if not isinstance(fitted.signal, SparseSignal) or labels.is_partial:
        what = "a part of the rows" if labels.is_partial else f"a {fitted.signal.kind} signal"
        raise UsageError(f"{labels.directory}: holds {what}; expected sparse labels of all rows")
    return fitted


def _digest(rows: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    return input_digest(
        rows["ids"],
        rows["num_tokens"],
        rows["segment_split"],
        positions=rows["mask_positions"],
        num_positions=rows["num_masked"],
    )


def _key_order(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Returns the row numbers (N,) that sort keys (N, 16)."""
    halves = np.ascontiguousarray(keys).view(">u8").reshape(-1, KEY_BYTES // 8)
    return np.lexsort((halves[:, 1], halves[:, 0]))
