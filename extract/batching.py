"""Rows of a shard -> batches of a few static shapes, longest rows first.

A plan depends on the lengths and the settings alone, never on time, threads or what was done
before, so a shard that is computed again gets the same bits.
"""

# n rows of a shard, R rows of a batch, L padded length of a batch

from dataclasses import dataclass

import numpy as np

__all__ = ["PlannedBatch", "plan_batches"]

HALVINGS = 3  # the last batch may be this often halved: 4 row counts a length at most


@dataclass(frozen=True, kw_only=True)
class PlannedBatch:
    """Which rows of the shard are computed together, and in which shape."""

    rows: np.ndarray
    """(R,) int64 rows of the shard; from `num_real` on, repeats of the last real one."""
    num_real: int
    """Rows that count; the others only fill the shape."""
    length: int
    """L: token slots a row."""


def plan_batches(
    lengths: np.ndarray, *, batch_tokens: int, length_multiple: int, max_length: int
) -> list[PlannedBatch]:
    """Cuts a shard into batches.

    Rows are sorted by length, longest first (ties by row). A batch is as long as its first row,
    rounded up to a multiple, and as many rows as fit the token budget; so only the last one, of
    the shortest rows, is not full: it takes the smallest of R, R/2, R/4 and R/8 rows that holds it.

    Args:
      lengths: (n,) real tokens of each row, at most `max_length`.
      batch_tokens: budget R * L of a batch; at least one row is taken.
      length_multiple: L is a multiple of it, unless `max_length` cuts it.
      max_length: largest L.

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
        longest = max(1, int(lengths[order[start]]))
        length = min(-(-longest // length_multiple) * length_multiple, max_length)
        full = max(1, batch_tokens // length)
        real = order[start : start + full]
        rows = np.full(_fitting_rows(len(real), full), real[-1], np.int64)
        rows[: len(real)] = real
        batches.append(PlannedBatch(rows=rows, num_real=len(real), length=length))
        start += len(real)
    return batches


def _fitting_rows(num_real: int, full: int) -> int:
    sizes = [-(-full // (1 << halving)) for halving in range(HALVINGS + 1)]
    return min(size for size in sizes if size >= num_real)
