"""A prior over ids, and cells of about equal mass in which an id costs few bits.

Ids are ranked by a prior that `fit` takes from the teacher's own answers, most likely first. For
n ids of a position the ranks are cut into 0.9 to 1.7 n cells of about equal prior mass, each a
power of two long; an id is its cell and its place in it. A sorted set of cells costs about two bits
an id in unary (Elias 1974, Fano 1971), its place the logarithm of the cell's length: about what the
set costs under the prior.
"""

# V vocabulary, C cells of a level

import functools
from dataclasses import dataclass

import numpy as np

from limbeck.labels.fitted import Fitted

__all__ = ["Cells", "Level", "cells_of", "fit_prior"]

SMOOTHING = 0.02  # of the prior's mass is spread evenly, so that no id is out of reach
# Mass of the largest cell in parts of 1 / 2^level, and cells an id: the least bytes of those tried
# on the demo's teacher (3 % below the square root of 2 and 0.75).
LARGEST = 1.2
CELLS_AN_ID = 1.2


@dataclass(frozen=True, kw_only=True)
class Level:
    """The cells for one number of ids."""

    starts: np.ndarray
    """(C,) int64 first rank of each cell."""
    widths: np.ndarray
    """(C,) int64 bits of a place in it."""


class Cells:
    """Ranks of ids under a prior, and the cells of each level.

    Args:
      prior: (V,) float32, above 0.
    """

    def __init__(self, prior: np.ndarray) -> None:
        self.ids = np.argsort(-prior, kind="stable")
        self.ranks = np.empty(len(prior), np.int64)
        self.ranks[self.ids] = np.arange(len(prior))
        wide = prior.astype(np.float64)[self.ids]
        self._mass = np.concatenate([[0.0], np.cumsum(wide)])
        self._levels: dict[int, Level] = {}

    def levels_of(self, counts: np.ndarray) -> np.ndarray:
        """The level for each number of ids; -1 for none."""
        counts = np.asarray(counts, np.int64)
        exact = np.rint(np.log2(CELLS_AN_ID * np.maximum(counts, 1))).astype(np.int64)
        return np.where(counts > 0, exact, -1)

    def level(self, number: int) -> Level:
        """About 2^number cells."""
        if number not in self._levels:
            self._levels[number] = self._cut(number)
        return self._levels[number]

    def _cut(self, number: int) -> Level:
        most = LARGEST * self._mass[-1] / (1 << number)
        starts, widths, rank, num_ids = [], [], 0, len(self.ids)
        while rank < num_ids:
            end = int(np.searchsorted(self._mass, self._mass[rank] + most, side="right")) - 1
            if end >= num_ids:
                width = (num_ids - rank - 1).bit_length()
            else:
                width = max(end - rank, 1).bit_length() - 1
            starts.append(rank)
            widths.append(width)
            rank += 1 << width
        return Level(starts=np.array(starts), widths=np.array(widths))


@functools.lru_cache(maxsize=16)
def cells_of(fitted: Fitted) -> Cells:
    """The cells of a fitted family, made once."""
    return Cells(fitted.tensors["prior"])


def fit_prior(mass: np.ndarray) -> np.ndarray:
    """(V,) float32 prior from (V,) how often each id was an entry, in any unit."""
    num_ids = len(mass)
    total = float(mass.sum())
    share = mass / total if total > 0.0 else np.full(num_ids, 1.0 / num_ids)
    return ((1.0 - SMOOTHING) * share + SMOOTHING / num_ids).astype(np.float32)
