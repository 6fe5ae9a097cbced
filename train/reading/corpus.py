"""One corpus of a run, opened, and the rows that are read of it with their labels."""

# n rows asked for

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset
from limbeck.records.errors import CorruptRecord
from train.reading.batch import FamilyArrays
from train.reading.families import Family, check_rows
from train.reading.quarantine import BadRow

__all__ = [
    "CorpusInputs",
    "OnBadRecord",
    "Slice",
    "arrays_of_no_rows",
    "read_corpus",
    "token_counts",
]

OnBadRecord = Literal["stop", "quarantine"]


@dataclass(frozen=True, kw_only=True)
class CorpusInputs:
    """One corpus, opened."""

    name: str
    """As the recipe calls it; empty where there is no mixture."""

    examples: Dataset
    """Inputs."""

    families: Mapping[str, Family] = field(default_factory=dict)
    """Label families of these inputs."""

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The examples and every family."""
        return (self.examples, *(family.dataset for family in self.families.values()))


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What was read of n rows: arrays of those that were sound, in their order."""

    examples: Mapping[str, np.ndarray]
    """field -> (number of sound rows, ...); in a mixture fields of all corpora, and `corpus`."""

    families: Mapping[str, FamilyArrays]
    """family -> what it holds for them; in a mixture all families, with no positions in rows of a
    corpus that has it not."""

    present: np.ndarray
    """(n,) bool: which rows were sound."""

    bad: tuple[BadRow, ...]
    """The others, once each."""


def arrays_of_no_rows(family: Family) -> FamilyArrays:
    """What a family holds for no rows: the types and shapes of its fields."""
    return family.arrays(family.dataset.read(np.empty(0, np.int64)))


def read_corpus(part: CorpusInputs, rows: np.ndarray, on_bad: OnBadRecord) -> Slice:
    """Reads and checks rows (n,) of one corpus; damaged ones are left out, or end it.

    Raises:
      CorruptRecord: a damaged record, where `on_bad` is stop.
      LimbeckError: labels of another input.
    """
    present = np.ones(len(rows), bool)
    bad: list[BadRow] = []
    while True:
        reads: dict[str, tuple[np.ndarray, Any]] = {}
        good = rows[present]
        try:
            where = good
            examples = part.examples.read(good)
            for name, family in part.families.items():
                # Of a partial family only the rows that it has are read.
                own = family.dataset.find(good)
                where = own
                reads[name] = own, family.dataset.read(own[own >= 0])
        except CorruptRecord as error:
            if on_bad == "stop":
                raise
            hit = np.flatnonzero(present)[where == error.row]
            if not len(hit):
                raise
            present[hit] = False
            row = int(rows[hit[0]])
            bad.append(BadRow.of(error, corpus=part.name, key=part.examples.keys([row])[0]))
            continue
        break
    families = {
        name: _family_arrays(family, examples, *reads[name], rows=good)
        for name, family in part.families.items()
    }
    return Slice(examples=examples, families=families, present=present, bad=tuple(bad))


def _family_arrays(
    family: Family,
    examples: Mapping[str, np.ndarray],
    own: np.ndarray,
    fields: Mapping[str, np.ndarray],
    *,
    rows: np.ndarray,
) -> FamilyArrays:
    """Checked and decoded labels of rows (n,), of which the family has those with own >= 0."""
    here = own >= 0
    if here.all():
        check_rows(examples, {family.name: fields}, {family.name: family}, rows)
        return family.arrays(fields)
    its_examples = {name: values[here] for name, values in examples.items()}
    check_rows(its_examples, {family.name: fields}, {family.name: family}, rows[here])
    arrays = family.arrays(fields)
    counts, starts = np.zeros((2, len(rows)), np.int64)
    counts[here], starts[here] = arrays.counts, arrays.row_starts
    return FamilyArrays(
        group=arrays.group, counts=counts, starts=starts, fields=arrays.fields, is_partial=True
    )


def token_counts(examples: Dataset, rows: np.ndarray) -> np.ndarray:
    """(n,) uint32 tokens of rows (n,), from the mapped indexes: no column is loaded whole.

    Raises:
      UsageError: the examples were written without token counts.
    """
    numbers = np.searchsorted(examples.shard_starts, rows, side="right") - 1
    lengths = np.zeros(len(rows), np.uint32)
    for number in np.unique(numbers).tolist():
        column = examples.shards[number].index.lengths
        if column is None:
            raise UsageError(f"{examples.directory}: was written without token counts")
        mine = numbers == number
        lengths[mine] = column[rows[mine] - examples.shard_starts[number]]
    return lengths
