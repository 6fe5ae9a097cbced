"""The corpora of a run as one numbered list of rows: examples, and the families beside them.

Rows of the first corpus come first, then those of the second; `limbeck.order` says which of them
are fed when. What a slice of a batch needs is read corpus by corpus and put together in the
slice's order, with rows of shorter corpora filled up as padding is.
"""

# n rows asked for, M positions of a family over these rows

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset
from limbeck.records.errors import CorruptRecord
from train.batch import FamilyArrays
from train.families import Family, check_rows
from train.quarantine import BadRow

__all__ = ["Corpora", "CorpusInputs", "OnBadRecord", "Slice", "joined"]

OnBadRecord = Literal["stop", "quarantine"]

# What a batch is made of; other fields (of a task, say) may differ between corpora.
FIELDS = (
    *("key", "ids", "num_tokens", "segment_split"),
    *("mask_positions", "mask_ids", "num_masked"),
)


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
    def dataset_ids(self) -> tuple[str, ...]:
        """Ids of the examples and of every family."""
        return (self.examples.id, *(f.dataset.id for f in self.families.values()))


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What was read of n rows: arrays of those that were sound, in their order."""

    examples: Mapping[str, np.ndarray]
    """field -> (number of sound rows, ...)."""

    families: Mapping[str, FamilyArrays]
    """family -> what it holds for them."""

    present: np.ndarray
    """(n,) bool: which rows were sound."""

    bad: tuple[BadRow, ...]
    """The others, once each."""


@dataclass(frozen=True)
class Corpora:
    """The corpora of a run; rows are numbered through all of them."""

    parts: tuple[CorpusInputs, ...]
    """At least one."""

    @property
    def starts(self) -> list[int]:
        """First row of each corpus, and the number of all rows."""
        starts = [0]
        for part in self.parts:
            starts.append(starts[-1] + part.examples.num_rows)
        return starts

    @property
    def num_rows(self) -> int:
        """N."""
        return self.starts[-1]

    @property
    def seq_length(self) -> int:
        """S: token slots of the corpus that has most."""
        return max(part.examples.layout.field("ids").shape[0] or 0 for part in self.parts)

    @property
    def dataset_ids(self) -> tuple[str, ...]:
        """Ids of everything that is read, corpus by corpus."""
        return tuple(number for part in self.parts for number in part.dataset_ids)

    @property
    def directories(self) -> str:
        """Where the examples lie, for messages."""
        return ", ".join(str(part.examples.directory) for part in self.parts)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """(n, 16) uint8 keys of rows (n,), from the indexes."""
        keys = np.empty((len(rows), 16), np.uint8)
        for part, places, local in self.by_corpus(rows):
            keys[places] = part.examples.keys(local)
        return keys

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """(n,) uint32 tokens of rows (n,), from the mapped indexes: no column is loaded whole.

        Raises:
          UsageError: the examples were written without token counts.
        """
        lengths = np.empty(len(rows), np.uint32)
        for part, places, local in self.by_corpus(rows):
            lengths[places] = _lengths(part.examples, local)
        return lengths

    def by_corpus(self, rows: np.ndarray) -> Iterator[tuple[CorpusInputs, np.ndarray, np.ndarray]]:
        """Yields each corpus that rows (n,) lie in, their places among the n, their own numbers."""
        starts = self.starts
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            yield self.parts[number], places, rows[places] - starts[number]

    def name_of(self, row: int) -> str:
        """Name of the corpus of a row."""
        return self.parts[bisect.bisect_right(self.starts, row) - 1].name

    def read(self, rows: np.ndarray, *, on_bad: OnBadRecord = "stop") -> Slice:
        """Reads and checks rows (n,) with their labels.

        Raises:
          CorruptRecord: a damaged record, where `on_bad` is stop.
          LimbeckError: labels of another input.
        """
        found = [
            (places, _read_part(part, local, on_bad))
            for part, places, local in self.by_corpus(rows)
        ]
        present = np.zeros(len(rows), bool)
        for places, part in found:
            present[places] = part.present
        if len(found) == 1:
            return found[0][1]
        # Where each corpus' sound rows go among all sound rows.
        ranks = np.cumsum(present) - 1
        targets = [ranks[places[part.present]] for places, part in found]
        parts = [part for _, part in found]
        return Slice(
            examples=_merged_examples(parts, targets, self.seq_length),
            families={
                name: joined([part.families[name] for part in parts], targets)
                for name in parts[0].families
            },
            present=present,
            bad=tuple(bad for part in parts for bad in part.bad),
        )


def joined(parts: Sequence[FamilyArrays], targets: Sequence[np.ndarray]) -> FamilyArrays:
    """One family's arrays of several corpora; the rows of part i go to places `targets[i]`."""
    num_rows = sum(len(target) for target in targets)
    counts, starts = np.zeros((2, num_rows), np.int64)
    offset = 0
    for part, target in zip(parts, targets, strict=True):
        counts[target], starts[target] = part.counts, part.row_starts + offset
        offset += int(part.counts.sum())
    fields = {
        name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields
    }
    return FamilyArrays(
        group=parts[0].group,
        counts=counts,
        starts=starts,
        fields=fields,
        is_partial=any(part.is_partial for part in parts),
    )


def _merged_examples(
    parts: Sequence[Slice], targets: Sequence[np.ndarray], seq_length: int
) -> dict[str, np.ndarray]:
    """The fields of several corpora as one, with as many slots as the longest has."""
    num_rows = sum(len(target) for target in targets)
    merged = {}
    for name in FIELDS:
        arrays = [part.examples[name] for part in parts if name in part.examples]
        if len(arrays) < len(parts):
            continue
        slots = [max(array.shape[1] for array in arrays)] if arrays[0].ndim > 1 else []
        if name == "ids":
            slots = [seq_length]
        out = np.zeros((num_rows, *slots), np.result_type(*arrays))
        for target, array in zip(targets, arrays, strict=True):
            if array.ndim == 1:
                out[target] = array
            else:
                out[target, : array.shape[1]] = array
        merged[name] = out
    return merged


def _read_part(part: CorpusInputs, rows: np.ndarray, on_bad: OnBadRecord) -> Slice:
    """Reads rows (n,) of one corpus; damaged ones are left out, or end it."""
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


def _lengths(examples: Dataset, rows: np.ndarray) -> np.ndarray:
    numbers = np.searchsorted(examples.shard_starts, rows, side="right") - 1
    lengths = np.zeros(len(rows), np.uint32)
    for number in np.unique(numbers).tolist():
        column = examples.shards[number].index.lengths
        if column is None:
            raise UsageError(f"{examples.directory}: was written without token counts")
        mine = numbers == number
        lengths[mine] = column[rows[mine] - examples.shard_starts[number]]
    return lengths
