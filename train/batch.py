"""From the stored rows of one rank's slice to padded arrays for the accelerator. Pure NumPy.

A slice of n rows is padded to a static number with copies of a valid row that count for nothing,
and cut into micro-batches of m rows. Positions that a loss looks at are flattened over the
micro-batch into one list per *group*, so that the vocabulary projection and the losses run on real
positions only:

    masked   the masked positions              first   the first token of each row
    all      every real token

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

__all__ = [
    "FamilyArrays",
    "MicroBatch",
    "base_group",
    "bucket_length",
    "count_items",
    "cut",
    "ladder_size",
    "list_name",
    "row_keys",
]

# A micro-batch as nested dicts of arrays, the form that tf.function takes:
#   ids, segment_ids, attention_mask (m, T) int32; row_keys (m, 4) int32
#   unmasked_ids (m, T) int32 where masks are made beside stored labels of the unmasked input
#   items: {list: {index (Q,) int32 into (m * T,), valid (Q,) bool}}; lists of partial families
#     have entry (Q,) int32 too: the place in their group's list
#   true_ids (Q,) int32 for the group "masked"
#   teacher: {family: {field: (Q, ...) of the family's list}}
MicroBatch = dict[str, Any]

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


def base_group(name: str) -> Group:
    """The group of a list."""
    return cast(Group, name.partition(" of ")[0])


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
    """
    total = micro_batch * num_micro
    rows = np.zeros(total, np.int64)  # row 0 is the copy that fills
    is_real = np.arange(total) < num_real
    if present is not None:
        is_real[:num_real] = present
    rows[is_real] = np.arange(int(is_real.sum()))
    return [
        _micro_batch(examples, families, rows[part], is_real[part], length=length, groups=groups)
        for part in (slice(start, start + micro_batch) for start in range(0, total, micro_batch))
    ]


def count_items(batches: Sequence[MicroBatch], group: str) -> int:
    """How many real entries the list has in these micro-batches."""
    return sum(int(np.count_nonzero(batch["items"][group]["valid"])) for batch in batches)


def _micro_batch(
    examples: Mapping[str, np.ndarray],
    families: Mapping[str, FamilyArrays],
    rows: np.ndarray,
    is_real: np.ndarray,
    *,
    length: int,
    groups: Sequence[str],
) -> MicroBatch:
    num_tokens = examples["num_tokens"][rows]
    segments = segment_ids(num_tokens, examples["segment_split"][rows], length)
    bases = dict.fromkeys(base_group(name) for name in groups)
    entries = {group: _entries(group, examples, rows, is_real) for group in bases}
    batch: MicroBatch = {
        "ids": examples["ids"][rows, :length].astype(np.int32),
        "segment_ids": segments.astype(np.int32),
        "attention_mask": attention_mask(num_tokens, length).astype(np.int32),
        "row_keys": row_keys(examples["key"][rows]),
        "items": {},
        "teacher": {},
    }
    if "unmasked_ids" in examples:
        batch["unmasked_ids"] = examples["unmasked_ids"][rows, :length].astype(np.int32)
    sizes = {}
    for group, (r, slot, slots) in entries.items():
        sizes[group] = ladder_size(len(r), bound=len(rows) * slots)
        tokens = examples["mask_positions"][rows[r], slot] if group == "masked" else slot
        batch["items"][group] = _list(r * length + tokens.astype(np.int64), sizes[group])
    if "masked" in entries:
        r, slot, _ = entries["masked"]
        true_ids = examples["mask_ids"][rows[r], slot].astype(np.int32)
        batch["true_ids"] = _padded(true_ids, sizes["masked"])
    for name, family in families.items():
        r, slot, slots = entries[family.group]
        size = sizes[family.group]
        if family.is_partial:
            here = np.flatnonzero(family.counts[rows[r]] > 0)
            size = ladder_size(len(here), bound=len(rows) * slots)
            index = batch["items"][family.group]["index"][here]
            own = {**_list(index, size), "entry": _padded(here.astype(np.int32), size)}
            batch["items"][list_name(family.group, name)] = own
            r, slot = r[here], slot[here]
        positions = family.row_starts[rows[r]] + slot
        batch["teacher"][name] = {
            field: _padded(array[positions], size) for field, array in family.fields.items()
        }
    return batch


def _list(index: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """A list of entries, filled up to `size`."""
    valid = np.arange(size) < len(index)
    return {"index": _padded(index.astype(np.int32), size), "valid": valid}


def _entries(
    group: Group, examples: Mapping[str, np.ndarray], rows: np.ndarray, is_real: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Row of the micro-batch and slot of each real entry, and the slots a row has."""
    if group == "masked":
        slots = examples["mask_positions"].shape[1]
        used = np.arange(slots) < examples["num_masked"][rows].astype(np.int64)[:, None]
    elif group == "all":
        slots = examples["ids"].shape[1]
        used = np.arange(slots) < examples["num_tokens"][rows].astype(np.int64)[:, None]
    else:
        slots = 1
        used = np.ones((len(rows), 1), bool)
    row, slot = np.nonzero(used & is_real[:, None])
    return row, slot, slots


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Zeros behind the values up to `size` entries; integers widen to int32 as the losses want."""
    dtype = np.int32 if values.dtype.kind == "u" else values.dtype
    out = np.zeros((size, *values.shape[1:]), dtype)
    out[: len(values)] = values
    return out
