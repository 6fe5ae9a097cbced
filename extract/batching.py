"""Rows of a window -> batches of a few static shapes, longest rows first.

A plan depends on the lengths and the settings alone, never on time, threads or what was done
before, so a shard that is computed again gets the same bits.
"""

# n rows of a window, R rows of a batch, L padded length of a batch

from dataclasses import dataclass

import numpy as np

__all__ = ["PlannedBatch", "padded_length", "plan_batches"]

STEPS = 8  # a filled batch has R/8, 2R/8, ... or R rows: so many shapes a length at most


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedBatch:
    """Which rows of the window are computed together, and in which shape."""

    rows: np.ndarray
    """(R,) int64 rows of the window; from `num_real` on, repeats of the last real one."""
    num_real: int
    """Rows that count; the others only fill the shape."""
    length: int
    """L: token slots a row."""

    @property
    def real_rows(self) -> np.ndarray:
        """(num_real,) int64 rows that count."""
        return self.rows[: self.num_real]

    @property
    def num_slots(self) -> int:
        """Token slots that are computed: R * L."""
        return len(self.rows) * self.length


def padded_length(tokens: int, *, length_multiple: int, max_length: int) -> int:
    """L of a batch whose longest row has so many tokens."""
    return min(-(-max(1, tokens) // length_multiple) * length_multiple, max_length)


def plan_batches(
    lengths: np.ndarray,
    *,
    batch_tokens: int,
    length_multiple: int,
    max_length: int,
    fill: bool = False,
) -> list[PlannedBatch]:
    """Cuts a window into batches.

    Rows are sorted by length, longest first (ties by row). A batch is as long as its first row,
    rounded up to a multiple, and as many rows as fit the token budget; so only the last one, of
    the shortest rows, is not full.

    Args:
      lengths: (n,) real tokens of each row, at most `max_length`.
      batch_tokens: budget R * L of a batch; at least one row is taken.
      length_multiple: L is a multiple of it, unless `max_length` cuts it.
      max_length: largest L.
      fill: whether the last batch is filled up to a multiple of an eighth of its full rows; for
        teachers that compile every shape.

    Returns:
      Batches that hold every row exactly once among their real rows.
    """
    lengths = np.asarray(lengths, np.int64)
    if len(lengths) and lengths.max() > max_length:
        raise ValueError(f"a row has {lengths.max()} tokens; max_length is {max_length}")
    order = np.argsort(-lengths, kind="stable")
    batches: list[PlannedBatch] = []
    start = 0
    while start < len(order):
        length = padded_length(
            int(lengths[order[start]]), length_multiple=length_multiple, max_length=max_length
        )
        full = max(1, batch_tokens // length)
        real = order[start : start + full]
        rows = np.full(_filled_rows(len(real), full) if fill else len(real), real[-1], np.int64)
        rows[: len(real)] = real
        batches.append(PlannedBatch(rows=rows, num_real=len(real), length=length))
        start += len(real)
    return batches


def _filled_rows(num_real: int, full: int) -> int:
    step = -(-full // STEPS)
    return min(-(-num_real // step) * step, full)
