"""The corpora of a run as one numbered list of rows: examples, and the families beside them.

Rows of the first corpus come first, then those of the second; `limbeck.order` says which of them
are fed when. What a slice of a batch needs is read corpus by corpus and put together in the
slice's order; see `train.reading.merging`.
"""

# n rows asked for

import bisect
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.records.layout import Field
from train.reading.batch import FamilyArrays
from train.reading.corpus import (
    CorpusInputs,
    OnBadRecord,
    Slice,
    arrays_of_no_rows,
    read_corpus,
    token_counts,
)
from train.reading.families import Family
from train.reading.merging import Part, joined, merged_examples, merged_fields, widest

__all__ = ["Corpora", "CorpusInputs", "OnBadRecord", "Slice"]


@dataclass(frozen=True)
class Corpora:
    """The corpora of a run; rows are numbered through all of them."""

    parts: tuple[CorpusInputs, ...]
    """At least one."""

    @property
    def names(self) -> tuple[str, ...]:
        """As terms call them; the numbers that rows carry count through these."""
        return tuple(part.name for part in self.parts)

    @functools.cached_property
    def families(self) -> Mapping[str, Family]:
        """Every family as the first corpus that has it opened it; partial where any has not."""
        names = dict.fromkeys(name for part in self.parts for name in part.families)
        return {name: self._family(name) for name in names}

    @functools.cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the rows of all corpora together."""
        return merged_fields([part.examples for part in self.parts])

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

    @functools.cached_property
    def num_labels(self) -> int | None:
        """Labels of the corpus that has most; None where none lists any."""
        lists = [part.examples.content.settings.get("labels") for part in self.parts]
        return max((len(labels) for labels in lists if isinstance(labels, list)), default=None)

    @property
    def dataset_ids(self) -> tuple[str, ...]:
        """Ids of everything that is read, corpus by corpus."""
        return tuple(dataset.id for part in self.parts for dataset in part.datasets)

    @property
    def directories(self) -> str:
        """Where the examples lie, for messages."""
        return ", ".join(str(part.examples.directory) for part in self.parts)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """(n, 16) uint8 keys of rows (n,), from the indexes."""
        keys = np.empty((len(rows), 16), np.uint8)
        for number, places, local in self.by_corpus(rows):
            keys[places] = self.parts[number].examples.keys(local)
        return keys

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """(n,) uint32 tokens of rows (n,), from the mapped indexes: no column is loaded whole.

        Raises:
          UsageError: the examples were written without token counts.
        """
        lengths = np.empty(len(rows), np.uint32)
        for number, places, local in self.by_corpus(rows):
            lengths[places] = token_counts(self.parts[number].examples, local)
        return lengths

    def by_corpus(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields each corpus that rows (n,) lie in, their places among the n, their own numbers."""
        starts = self.starts
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            yield number, places, rows[places] - starts[number]

    def name_of(self, row: int) -> str:
        """Name of the corpus of a row."""
        return self.parts[bisect.bisect_right(self.starts, row) - 1].name

    def read(self, rows: np.ndarray, *, on_bad: OnBadRecord = "stop") -> Slice:
        """Reads and checks rows (n,) with their labels.

        Raises:
          CorruptRecord: a damaged record, where `on_bad` is stop.
          LimbeckError: labels of another input.
        """
        if len(self.parts) == 1 and not self.parts[0].name:
            return read_corpus(self.parts[0], rows, on_bad)
        found = [
            (number, places, read_corpus(self.parts[number], local, on_bad))
            for number, places, local in self.by_corpus(rows)
        ]
        present = np.zeros(len(rows), bool)
        for _, places, part in found:
            present[places] = part.present
        # Where each corpus' sound rows go among all sound rows.
        ranks = np.cumsum(present) - 1
        parts = [
            Part(
                corpus=number,
                targets=ranks[places[part.present]],
                examples=part.examples,
                families=part.families,
            )
            for number, places, part in found
        ]
        return Slice(
            examples=merged_examples(parts, self.fields),
            families={name: joined(name, parts, empty) for name, empty in self._empty.items()},
            present=present,
            bad=tuple(bad for *_, part in found for bad in part.bad),
        )

    @functools.cached_property
    def _empty(self) -> Mapping[str, FamilyArrays]:
        """What every family holds for no rows: the types and shapes of its fields."""
        own = {
            name: [arrays_of_no_rows(p.families[name]) for p in self.parts if name in p.families]
            for name in self.families
        }
        return {
            name: widest(arrays, is_partial=self.families[name].is_partial)
            for name, arrays in own.items()
        }

    def _family(self, name: str) -> Family:
        own = [part.families[name] for part in self.parts if name in part.families]
        some = len(own) < len(self.parts) or any(family.is_partial for family in own)
        return dataclasses.replace(own[0], is_partial=True) if some else own[0]
