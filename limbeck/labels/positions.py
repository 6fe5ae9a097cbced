"""Between padded slots of a batch and the flat list of its real positions.

A batch has (B, P) slots of which a record uses the first `num_positions`. Work that costs (the
vocabulary head) runs on the flat list; what is stored is padded with zeros.
"""

# B rows, P slots, M real positions of all rows together

from dataclasses import dataclass

import numpy as np

__all__ = ["FlatPositions", "flatten", "unflatten"]


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
