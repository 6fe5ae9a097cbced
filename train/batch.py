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
was cut.
"""

# n rows of the slice, m rows of a micro-batch, T tokens, P slots for masked positions
# Q entries of a group's padded list

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limbeck.records.examples import attention_mask, segment_ids

__all__ = [
    "FamilyArrays",
    "Group",
    "MicroBatch",
    "bucket_length",
    "count_items",
    "cut",
    "ladder_size",
    "row_keys",
]

Group = Literal["masked", "all", "first"]

# A micro-batch as nested dicts of arrays, the form that tf.function takes:
#   ids, segment_ids, attention_mask (m, T) int32; row_keys (m, 4) int32
#   items: {group: {index (Q,) int32 into (m * T,), valid (Q,) bool}}
#   true_ids (Q,) int32 for the group "masked"
#   teacher: {family: {field: (Q, ...) of the family's group}}
MicroBatch = dict[str, Any]

NUM_BUCKETS = 8
LADDER_STEPS = 16


@dataclass(frozen=True, kw_only=True)
class FamilyArrays:
    """What one label family holds for the rows of a slice."""

    group: Group
    """Which positions its entries belong to."""
    fields: Mapping[str, np.ndarray]
    """name -> (n, slots, ...), slots as the group has them."""


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
    groups: Sequence[Group],
) -> list[MicroBatch]:
    """Pads a slice with weight-0 rows and cuts it into micro-batches.

    Args:
      examples: fields of the examples layout; (n, ...) with at least one row.
      families: label families of the same rows.
      num_real: how many of the n rows count; 0 only where a rank has none and row 0 stands in.
      micro_batch: m.
      num_micro: micro-batches to make; m * num_micro >= num_real.
      length: T, no row has more tokens.
      groups: the groups that the objective needs.
    """
    total = micro_batch * num_micro
    rows = np.zeros(total, np.int64)  # row 0 is the copy that fills
    rows[:num_real] = np.arange(num_real)
    is_real = np.arange(total) < num_real
    return [
        _micro_batch(examples, families, rows[part], is_real[part], length=length, groups=groups)
        for part in (slice(start, start + micro_batch) for start in range(0, total, micro_batch))
    ]


def count_items(batches: Sequence[MicroBatch], group: Group) -> int:
    """How many real entries the group has in these micro-batches."""
    return sum(int(np.count_nonzero(batch["items"][group]["valid"])) for batch in batches)


def _micro_batch(
    examples: Mapping[str, np.ndarray],
    families: Mapping[str, FamilyArrays],
    rows: np.ndarray,
    is_real: np.ndarray,
    *,
    length: int,
    groups: Sequence[Group],
) -> MicroBatch:
    num_tokens = examples["num_tokens"][rows]
    segments = segment_ids(num_tokens, examples["segment_split"][rows], length)
    entries = {group: _entries(group, examples, rows, is_real) for group in groups}
    sizes = {
        group: ladder_size(len(r), bound=len(rows) * slots)
        for group, (r, _, slots) in entries.items()
    }
    batch: MicroBatch = {
        "ids": examples["ids"][rows, :length].astype(np.int32),
        "segment_ids": segments.astype(np.int32),
        "attention_mask": attention_mask(num_tokens, length).astype(np.int32),
        "row_keys": row_keys(examples["key"][rows]),
        "items": {},
        "teacher": {},
    }
    for group, (r, slot, _) in entries.items():
        tokens = examples["mask_positions"][rows[r], slot] if group == "masked" else slot
        index = r * length + tokens.astype(np.int64)
        valid = np.arange(sizes[group]) < len(r)
        batch["items"][group] = {
            "index": _padded(index.astype(np.int32), sizes[group]),
            "valid": valid,
        }
    if "masked" in entries:
        r, slot, _ = entries["masked"]
        true_ids = examples["mask_ids"][rows[r], slot].astype(np.int32)
        batch["true_ids"] = _padded(true_ids, sizes["masked"])
    for name, family in families.items():
        r, slot, _ = entries[family.group]
        batch["teacher"][name] = {
            field: _padded(array[rows[r], slot], sizes[family.group])
            for field, array in family.fields.items()
        }
    return batch


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
