"""Between padded slots of records and the flat list of their real positions.

A record has P slots of which it uses the first `num_positions`. Teachers and codecs work on the
flat list of used slots; what is stored is padded with zeros.
"""

# B rows, P slots, M real positions of all rows together

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.records.layout import Field, Layout

__all__ = ["FlatPositions", "flatten", "from_fields", "to_fields", "unflatten"]

_OF_THE_RECORD = ("key", "digest", "num_positions")


@dataclass(frozen=True, kw_only=True)
class FlatPositions:
    """Which slot of which row each flat position is; row by row, slots ascending."""

    rows: np.ndarray
    """(M,) int64 row of the batch."""
    slots: np.ndarray
    """(M,) int64 slot inside the row."""


def flatten(num_positions: np.ndarray, num_slots: int) -> FlatPositions:
    """Lists the used slots.

    Args:
      num_positions: (B,) used slots of each row, at most `num_slots`.
      num_slots: P.
    """
    used = np.arange(num_slots) < np.asarray(num_positions, np.int64)[:, None]
    rows, slots = np.nonzero(used)
    return FlatPositions(rows=rows, slots=slots)


def unflatten(
    values: np.ndarray, flat: FlatPositions, *, num_rows: int, num_slots: int
) -> np.ndarray:
    """Puts flat values back into their slots.

    Args:
      values: (M, ...) one entry a flat position.
      flat: where they belong.
      num_rows: B.
      num_slots: P.

    Returns:
      (B, P, ...) of the same dtype, zero where no position is.
    """
    padded = np.zeros((num_rows, num_slots, *values.shape[1:]), values.dtype)
    padded[flat.rows, flat.slots] = values
    return padded


def to_fields(
    arrays: Mapping[str, np.ndarray],
    counts: np.ndarray,
    *,
    layout: Layout,
    width: int | None = None,
) -> dict[str, np.ndarray]:
    """Flat arrays as the fields of records whose fields all have fixed shapes.

    Args:
      arrays: name -> (M, ...), record by record; the layout's fields without those of the record.
      counts: (B,) positions of each record.
      layout: what is stored; later dimensions that are longer there are filled with zeros.
      width: slots a record in the result; None for the layout's.

    Returns:
      `num_positions` (B,) uint16, and every other field (B, P, ...) in the layout's dtype.

    Raises:
      ValueError: counts that do not fit the arrays or the slots.
    """
    counts = np.asarray(counts, np.int64)
    fields = {"num_positions": counts.astype(np.uint16)}
    for field in layout.fields:
        if field.name in _OF_THE_RECORD:
            continue
        slots = width or field.shape[0] or 0
        values = arrays[field.name]
        if int(counts.sum()) != len(values) or int(counts.max(initial=0)) > slots:
            raise ValueError(
                f"field {field.name}: {len(values)} positions, but the records have "
                f"{int(counts.sum())}, up to {int(counts.max(initial=0))} of {slots} slots"
            )
        padded = np.zeros((len(counts), slots, *_later(field)), field.numpy_dtype)
        flat = flatten(counts, slots)
        used: Any = (flat.rows, flat.slots, *(slice(size) for size in values.shape[1:]))
        padded[used] = values
        fields[field.name] = padded
    return fields


def from_fields(
    fields: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], FlatPositions]:
    """The inverse of `to_fields`: name -> (M, ...), and where each position is."""
    stored = {name: v for name, v in fields.items() if name not in _OF_THE_RECORD}
    num_slots = max((values.shape[1] for values in stored.values()), default=0)
    flat = flatten(fields["num_positions"], num_slots)
    return {name: values[flat.rows, flat.slots] for name, values in stored.items()}, flat


def _later(field: Field) -> tuple[int, ...]:
    return tuple(size or 0 for size in field.shape[1:])
