"""From the stored rows of one rank's slice to padded arrays for the accelerator. Pure NumPy.

A slice of n rows is padded to a static number with copies of a valid row that count for nothing,
and cut into micro-batches of m rows. Positions that a loss looks at are flattened over the
micro-batch into one list per *group*, so that the vocabulary projection and the losses run on real
positions only:

    masked   the masked positions              first   the first token of each row
    all      every real token                  next    every real token but a row's last
    tags     the tokens that carry a tag
    class, flags, target, sentence, span       the first token of each row with such a label

A row without the label of a list has no entry in it, so a list may be empty. A list of one corpus
of a mixture is named `LIST in CORPUS`.

A list's length is the next step of a ladder; the rest is filled with entries that point at token 0
of row 0, which is real data, and are marked not valid. Entries are ordered by row, then position,
so the lists of all ranks and micro-batches, one after the other, do not depend on how the batch
was cut. A family that labels some rows only has a list of its own, part of its group's.
"""

# n rows of the slice, m rows of a micro-batch, T tokens, P slots for masked positions
# Q entries of a group's padded list

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from limbeck.labels.signals import Group
from limbeck.records.examples import attention_mask, segment_ids
from train.reading.lists import LISTS, Rows

__all__ = [
    "FamilyArrays",
    "MicroBatch",
    "base_group",
    "base_list",
    "bucket_length",
    "count_items",
    "cut",
    "in_corpus",
    "ladder_size",
    "list_name",
    "row_keys",
]

# A micro-batch as nested dicts of arrays, the form that tf.function takes:
#   ids, segment_ids, attention_mask (m, T) int32; row_keys (m, 4) int32
#   unmasked_ids (m, T) int32 where masks are made beside stored labels of the unmasked input
#   places (m,) int32 of the rows in the global batch; of rows that fill, that of the copied one
#   items: {list: {index (Q,) int32 into (m * T,), valid (Q,) bool}}; lists of partial families
#     have entry (Q,) int32 too: the place in their group's list; so have those of one corpus
#     beside the whole list, and `next`, `masked` and `first` beside `all`
#   labels: {list: (Q, ...)} what the examples say of the entries; see `train.reading.lists`
#   teacher: {family: {field: (Q, ...) of the family's list}}
MicroBatch = dict[str, Any]

# Their entries are tokens of rows, so `all` has every one of them.
PARTS_OF_ALL = ("next", "masked", "first")

NUM_BUCKETS = 8
LADDER_STEPS = 16


@dataclass(frozen=True, kw_only=True)
class FamilyArrays:
    """What one label family holds for the rows of a slice, at the M positions of its group."""

    group: Group
    """Which positions its entries belong to."""
    counts: np.ndarray
    """(n,) int64 positions of each row, 0 where a partial family has it not; they add up to M."""
    fields: Mapping[str, np.ndarray]
    """name -> (M, ...)."""
    starts: np.ndarray | None = None
    """(n,) int64 first of each row's positions; None: row by row, as counts add up."""
    is_partial: bool = False
    """Whether the family labels some rows of its examples only."""

    @property
    def row_starts(self) -> np.ndarray:
        """(n,) int64 first of each row's positions."""
        return np.cumsum(self.counts) - self.counts if self.starts is None else self.starts


def list_name(group: Group, partial_family: str | None = None) -> str:
    """Name of the list of a group, or of the part of it that a partial family labels."""
    return group if partial_family is None else f"{group} of {partial_family}"


def in_corpus(name: str, corpus: str | None) -> str:
    """Name of the part of a list that lies in one corpus; None for all of it."""
    return name if corpus is None else f"{name} in {corpus}"


def base_list(name: str) -> str:
    """The list that a list is part of, or the list itself; a key of `train.reading.lists.LISTS`."""
    return name.partition(" of ")[0].partition(" in ")[0]


def base_group(name: str) -> Group:
    """The group of a family's list."""
    return cast(Group, base_list(name))


def bucket_length(longest: int, *, seq_length: int) -> int:
    """The padded length of a batch whose longest row has `longest` tokens.

    One of eight lengths, so that few shapes occur; a function of the global batch only, so every
    rank computes the same.
    """
    step = max(8, -(-seq_length // NUM_BUCKETS))
    return min(seq_length, -(-max(longest, 1) // step) * step)


def ladder_size(num_items: int, *, bound: int) -> int:
    """The padded length of a list of `num_items` out of at most `bound`: at most 1/16 is waste."""
    step = max(8, -(-bound // LADDER_STEPS))
    return max(1, -(-num_items // step)) * step


def row_keys(keys: np.ndarray) -> np.ndarray:
    """(n, 16) uint8 record keys as (n, 4) int32 words, for the dropout hash."""
    return np.ascontiguousarray(keys).view("<u4").astype(np.uint32).view(np.int32)


def cut(
    examples: Mapping[str, np.ndarray],
    families: Mapping[str, FamilyArrays],
    *,
    num_real: int,
    micro_batch: int,
    num_micro: int,
    length: int,
    groups: Sequence[str],
    present: np.ndarray | None = None,
    first_place: int = 0,
    corpora: Sequence[str] = (),
) -> list[MicroBatch]:
    """Pads a slice with weight-0 rows and cuts it into micro-batches.

    Args:
      examples: fields of the examples layout; (n, ...) with at least one row.
      families: label families of the same rows.
      num_real: rows of the slice; 0 only where a rank has none and row 0 stands in.
      micro_batch: m.
      num_micro: micro-batches to make; m * num_micro >= num_real.
      length: T, no row has more tokens.
      groups: names of the lists that the objective needs.
      present: (num_real,) bool, which rows of the slice `examples` has: the others keep their place
        with weight 0. None: all.
      first_place: of the slice in the global batch.
      corpora: names of the corpora that the examples' field `corpus` numbers.
    """
    total = micro_batch * num_micro
    rows = np.zeros(total, np.int64)  # row 0 is the copy that fills
    is_real = np.arange(total) < num_real
    if present is not None:
        is_real[:num_real] = present
    rows[is_real] = np.arange(int(is_real.sum()))
    places = np.where(is_real, first_place + np.arange(total), first_place).astype(np.int32)
    return [
        {
            **_micro_batch(
                Rows(examples, rows[part], is_real[part]),
                families,
                length=length,
                groups=groups,
                corpora=corpora,
            ),
            "places": places[part],
        }
        for part in (slice(start, start + micro_batch) for start in range(0, total, micro_batch))
    ]


def count_items(batches: Sequence[MicroBatch], groups: Sequence[str]) -> dict[str, int]:
    """What terms may divide by, of these micro-batches.

    Returns:
      For each list its real entries; as `LIST pairs` the sum over these of the tokens of their
      rows: the pairs of tokens, where the list is `all`; and as `LIST rows` the rows that have any.
    """
    units = ("", " pairs", " rows")
    counts = dict.fromkeys([f"{name}{unit}" for name in groups for unit in units], 0)
    for batch in batches:
        tokens = batch["attention_mask"].sum(axis=1, dtype=np.int64)
        for name in groups:
            items = batch["items"][name]
            rows = items["index"][items["valid"]] // batch["ids"].shape[1]
            counts[name] += len(rows)
            counts[f"{name} pairs"] += int(tokens[rows].sum())
            counts[f"{name} rows"] += len(np.unique(rows))
    return counts


def _micro_batch(
    examples: Rows,
    families: Mapping[str, FamilyArrays],
    *,
    length: int,
    groups: Sequence[str],
    corpora: Sequence[str],
) -> MicroBatch:
    num_tokens = examples["num_tokens"]
    segments = segment_ids(num_tokens, examples["segment_split"], length)
    batch: MicroBatch = {
        "ids": examples["ids"][:, :length].astype(np.int32),
        "segment_ids": segments.astype(np.int32),
        "attention_mask": attention_mask(num_tokens, length).astype(np.int32),
        "row_keys": row_keys(examples["key"]),
        "items": {},
        "labels": {},
        "teacher": {},
    }
    if "unmasked_ids" in examples:
        batch["unmasked_ids"] = examples["unmasked_ids"][:, :length].astype(np.int32)
    # Lists of the examples and of their corpora; those of partial families are part of the former.
    entries = {
        name: _entries(name, examples, corpora)
        for name in dict.fromkeys(name.partition(" of ")[0] for name in groups)
    }
    for name, found in entries.items():
        _add_list(batch, name, found, examples, length)
    for name in entries:
        whole = base_list(name) if " in " in name else "all"
        if whole in entries and (name in PARTS_OF_ALL or whole == base_list(name) != name):
            _add_places(batch, name, whole)
    for name, family in families.items():
        _add_family(batch, name, family, entries[family.group], examples)
    return batch


@dataclass(frozen=True, kw_only=True)
class _Entries:
    """The real entries of a list, ordered by row, then slot."""

    row: np.ndarray
    """(Q,) of the micro-batch."""
    slot: np.ndarray
    """(Q,)."""
    bound: int
    """Slots of all rows."""


def _entries(name: str, examples: Rows, corpora: Sequence[str]) -> _Entries:
    used = LISTS[base_list(name)].used(examples) & examples.is_real[:, None]
    _, part, corpus = name.partition(" in ")
    if part:
        used &= (examples["corpus"] == corpora.index(corpus))[:, None]
    row, slot = np.nonzero(used)
    return _Entries(row=row, slot=slot, bound=used.size)


def _add_list(batch: MicroBatch, name: str, found: _Entries, examples: Rows, length: int) -> None:
    """Adds a list of the examples, with its labels where it has any."""
    kind = LISTS[base_list(name)]
    size = ladder_size(len(found.row), bound=found.bound)
    tokens = found.slot
    if kind.tokens is not None:
        tokens = kind.tokens(examples)[found.row, found.slot].astype(np.int64)
    batch["items"][name] = _list(found.row * length + tokens, size)
    labels = None if kind.labels is None else kind.labels(examples)
    if labels is not None:
        batch["labels"][name] = _padded(
            labels[found.row, found.slot].astype(kind.dtype, copy=False), size
        )


def _add_places(batch: MicroBatch, name: str, whole: str) -> None:
    """Adds where the entries of a list stand in another one, which has them all."""
    part, every = (batch["items"][n] for n in (name, whole))
    where = [items["index"][items["valid"]] for items in (every, part)]
    part["entry"] = _padded(np.searchsorted(*where).astype(np.int32), len(part["index"]))


def _add_family(
    batch: MicroBatch, name: str, family: FamilyArrays, found: _Entries, examples: Rows
) -> None:
    """Adds what a family holds, and the list of a partial one."""
    row, slot = found.row, found.slot
    size = len(batch["items"][family.group]["index"])
    if family.is_partial:
        here = np.flatnonzero(family.counts[examples.rows[row]] > 0)
        size = ladder_size(len(here), bound=found.bound)
        index = batch["items"][family.group]["index"][here]
        own = {**_list(index, size), "entry": _padded(here.astype(np.int32), size)}
        batch["items"][list_name(family.group, name)] = own
        row, slot = row[here], slot[here]
    positions = family.row_starts[examples.rows[row]] + slot
    batch["teacher"][name] = {
        field: _padded(array[positions], size) for field, array in family.fields.items()
    }


def _list(index: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """A list of entries, filled up to `size`."""
    valid = np.arange(size) < len(index)
    return {"index": _padded(index.astype(np.int32), size), "valid": valid}


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Zeros behind the values up to `size` entries; integers widen to int32 as the losses want."""
    dtype = np.int32 if values.dtype.kind == "u" else values.dtype
    out = np.zeros((size, *values.shape[1:]), dtype)
    out[: len(values)] = values
    return out
