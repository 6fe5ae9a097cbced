"""Rows of several corpora as one set of rows, whatever their kinds and their label families.

A merged row has the fields of every corpus. Those that its own kind lacks, and the slots that
longer rows have more, hold the value that says so (`limbeck.records.examples.UNKNOWN`); of families
that its corpus lacks it has no positions. What fields, widths and types there are does not depend
on which rows a slice happens to have.
"""

# n rows of a slice, M positions of a family over these rows

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset
from limbeck.records.examples import UNKNOWN
from limbeck.records.layout import Field
from train.reading.batch import FamilyArrays

__all__ = ["CORPUS", "Part", "joined", "merged_examples", "merged_fields", "widest"]

CORPUS = "corpus"  # field of merged rows: the number of their corpus, int32
PER_TOKEN = ("ids", "tags", "char_starts", "char_ends")
PER_MASK = ("mask_positions", "mask_ids")
EVERY_KIND = ("key", "ids", "num_tokens", "segment_split")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one corpus in a slice of several."""

    corpus: int
    """Its number."""

    targets: np.ndarray
    """Where its rows go among the rows of the slice."""

    examples: Mapping[str, np.ndarray]
    """Their fields."""

    families: Mapping[str, FamilyArrays]
    """Their labels, of the families that the corpus has."""


def merged_fields(examples: Sequence[Dataset]) -> tuple[Field, ...]:
    """The fields that rows of several corpora have together.

    Raises:
      UsageError: two corpora have a field of another width that cannot be filled up, such as the
        flags of other labels.
    """
    found: dict[str, Field] = {}
    for dataset in examples:
        for field in dataset.layout.fields:
            if field.name in UNKNOWN or field.name in EVERY_KIND:
                found[field.name] = _wider(found.get(field.name, field), field, dataset)
    slots = found["ids"].shape
    return tuple(
        dataclasses.replace(field, shape=slots) if field.name in PER_TOKEN else field
        for field in found.values()
    )


def merged_examples(parts: Sequence[Part], fields: Sequence[Field]) -> dict[str, np.ndarray]:
    """The rows of several corpora with all fields, and the number of each row's corpus."""
    num_rows = sum(len(part.targets) for part in parts)
    merged = {CORPUS: np.zeros(num_rows, np.int32)}
    for part in parts:
        merged[CORPUS][part.targets] = part.corpus
    for field in fields:
        shape = tuple(n or 0 for n in field.shape)
        out = np.full((num_rows, *shape), UNKNOWN.get(field.name, 0), field.numpy_dtype)
        for part in parts:
            if field.name not in part.examples:
                continue
            values = part.examples[field.name]
            if values.ndim == 1:
                out[part.targets] = values
            else:
                out[part.targets, : values.shape[1]] = values
        merged[field.name] = out
    return merged


def joined(name: str, parts: Sequence[Part], empty: FamilyArrays) -> FamilyArrays:
    """One family over the rows of several corpora.

    Args:
      name: of the family.
      parts: the rows; those of corpora without the family have no positions.
      empty: the family at no rows, for the types and shapes of its fields; see `widest`.
    """
    counts, starts = np.zeros((2, sum(len(part.targets) for part in parts)), np.int64)
    values = {field: [array] for field, array in empty.fields.items()}
    offset = 0
    for part in parts:
        if name not in part.families:
            continue
        own = part.families[name]
        counts[part.targets], starts[part.targets] = own.counts, own.row_starts + offset
        offset += int(own.counts.sum())
        for field, arrays in values.items():
            arrays.append(_filled_up(own.fields[field], arrays[0].shape[1:]))
    return FamilyArrays(
        group=empty.group,
        counts=counts,
        starts=starts,
        fields={field: np.concatenate(arrays) for field, arrays in values.items()},
        is_partial=empty.is_partial,
    )


def widest(families: Sequence[FamilyArrays], *, is_partial: bool) -> FamilyArrays:
    """A family at no rows, with fields as wide as in the corpus where they are widest.

    Only attention differs in width: a position's probabilities are over the tokens of its row.

    Args:
      families: the family at no rows of each corpus that has it.
      is_partial: whether any corpus lacks rows of it.
    """
    shapes = {
        name: tuple(map(max, zip(*(f.fields[name].shape[1:] for f in families), strict=True)))
        for name in families[0].fields
    }
    fields = {name: _filled_up(array, shapes[name]) for name, array in families[0].fields.items()}
    return dataclasses.replace(families[0], fields=fields, is_partial=is_partial)


def _filled_up(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(M, ...) with zeros behind each axis but the first, up to `shape`."""
    if array.shape[1:] == shape:
        return array
    behind = [(0, wide - n) for wide, n in zip(shape, array.shape[1:], strict=True)]
    return np.pad(array, [(0, 0), *behind])


def _wider(one: Field, other: Field, dataset: Dataset) -> Field:
    """A field that holds the values of both."""
    if one.shape != other.shape and one.name not in (*PER_TOKEN, *PER_MASK):
        raise UsageError(
            f"{dataset.directory}: {other.name} has {other.shape[0]} values a row, and another "
            f"corpus {one.shape[0]}: rows of one mixture need flags of the same labels"
        )
    dtype = max(one, other, key=lambda field: field.numpy_dtype.itemsize).dtype
    shape = tuple(max(a or 0, b or 0) for a, b in zip(one.shape, other.shape, strict=True))
    return Field(one.name, dtype, shape)
