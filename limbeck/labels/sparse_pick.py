"""Which ids of a position a threshold keeps, and which of the others are drawn, with integers.

Let p be the teacher's probability of an id, as a mean over the temperatures of the grid, and t the
threshold. An id with p >= t is kept for certain; any other is drawn with probability p / t, by
systematic sampling with probability proportional to size (Madow 1949): all ids in a row, each as
long as min(p, t), and one point every t from a uniform start on. Whoever has a point is taken; an
id of length t always has one. So nothing is rounded, the expected number of draws follows the mass
below the threshold, and an id that was drawn stands for 1 / (p / t) of itself: a mass of t at a
single temperature. The row begins at a drawn id and goes round.

Which order the ids stand in changes no id's chance and no id's variance, and positions are drawn
independently, so a drawn rotation is enough where a drawn permutation would cost a sort of V.

Sizes are integers. exp((z - zmax) / T), in float64, is cut to multiples of 2^-36; sums and
comparisons after that are exact, whatever computes them and in whatever order. Two machines
differ only where their exp differs by an ulp right at a rounding border (about once in 10^6
positions), and then by one part in 2^36 of a size.
"""

# N positions, V vocabulary, K ids that are kept anyway, E entries at most, G temperatures

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["DRAWN", "HEAD", "ID_BITS", "MIXED_SCALE", "NO_ENTRY", "SCALE", "Picked", "pick"]

SCALE = float(1 << 36)
MIXED_SCALE = float(1 << 44)  # of mean probabilities, so that 2^-36 is still a number there
ID_BITS = 28  # of a sort key, below the class
HEAD, DRAWN, NO_ENTRY = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Entries of N positions: the head, then what was drawn, each by id; then none."""

    ids: np.ndarray
    """(N, E) int64, 0 where there is no entry."""
    probs: np.ndarray
    """(N, E) float64 mean probabilities of these ids."""
    num_head: np.ndarray
    """(N,) int64."""
    num_drawn: np.ndarray
    """(N,) int64."""


def pick(
    relative: np.ndarray,
    top: np.ndarray,
    *,
    temperatures: Sequence[float],
    threshold: float,
    max_entries: int,
    draws: np.ndarray | None,
) -> Picked:
    """Picks the entries of N positions.

    Args:
      relative: (N, V) float32, z - zmax, none above 0.
      top: (N, K) ids to keep whatever they are.
      temperatures: over which probabilities are averaged.
      threshold: t.
      max_entries: E, as the signal says.
      draws: (N, 2) int32 random words; None draws nothing from below the threshold.
    """
    sizes = mean_sizes(relative, temperatures)
    total = sizes.sum(axis=-1, keepdims=True)
    step = np.maximum(np.floor(total.astype(np.float64) * threshold), 1.0).astype(np.int64)
    lengths = np.minimum(sizes, step) if draws is not None else (sizes >= step) * step
    np.put_along_axis(lengths, top, np.broadcast_to(step, top.shape), axis=-1)
    ends = lengths.cumsum(axis=-1)
    places, is_there = _points(ends, lengths, step, draws, max_entries=max_entries)
    ids = np.empty(places.shape, np.int64)
    for row, (end, place) in enumerate(zip(ends, places, strict=True)):
        ids[row] = np.searchsorted(end, place, side="right")
    ids = np.minimum(ids, relative.shape[-1] - 1)
    size = np.take_along_axis(sizes, ids, axis=-1)
    is_head = is_there & ((size >= step) | (ids[:, :, None] == top[:, None, :]).any(axis=-1))
    kind = np.where(is_head, HEAD, np.where(is_there, DRAWN, NO_ENTRY))
    keys = np.sort((kind << ID_BITS) + np.where(is_there, ids, 0), axis=-1)
    ids, kind = keys & ((1 << ID_BITS) - 1), keys >> ID_BITS
    size = np.take_along_axis(sizes, ids, axis=-1)
    return Picked(
        ids=ids,
        probs=size.astype(np.float64) / total.astype(np.float64),
        num_head=(kind == HEAD).sum(axis=-1),
        num_drawn=(kind == DRAWN).sum(axis=-1),
    )


def mean_sizes(relative: np.ndarray, temperatures: Sequence[float]) -> np.ndarray:
    """(N, V) int64, proportional to the mean of softmax(z / T) over the temperatures."""
    wide = relative.astype(np.float64)
    first, *others = ((np.exp(wide / t) * SCALE).astype(np.int64) for t in temperatures)
    if not others:
        return first
    mixed = np.zeros_like(first)
    for sizes in (first, *others):
        factor = MIXED_SCALE / sizes.sum(axis=-1, keepdims=True).astype(np.float64)
        mixed += (sizes.astype(np.float64) * factor).astype(np.int64)
    return mixed


def _points(
    ends: np.ndarray,
    lengths: np.ndarray,
    step: np.ndarray,
    draws: np.ndarray | None,
    *,
    max_entries: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, E) places of the points along the row of ids, and whether each point is on it."""
    total = ends[:, -1:]
    grid = np.arange(max_entries, dtype=np.int64) * step
    if draws is None:
        return grid, grid < total
    words = draws.astype(np.int64) & 0xFFFFFFFF
    start = (words[:, :1].astype(np.float64) * 2.0**-32 * step).astype(np.int64)
    first_id = (words[:, 1:] * ends.shape[-1]) >> 32
    origin = np.take_along_axis(ends, first_id, -1) - np.take_along_axis(lengths, first_id, -1)
    places = start + grid
    is_there = places < total
    places = places + origin
    return np.where(places >= total, places - total, places), is_there
