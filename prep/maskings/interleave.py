"""Maskings of one row that together label each of its tokens exactly once.

The units (tokens, or words) of a row are dealt out to the passes in random order, each to the pass
that has fewest tokens so far; so passes differ by less than a unit, and the rate is 1 / passes. A
word that would exceed what a pass may hold is dealt out piece by piece.
"""

# C candidate positions, W units

import numpy as np
import numpy.typing as npt

from prep.seeds import below

__all__ = ["deal_out"]

Int64 = npt.NDArray[np.int64]


def deal_out(units: Int64, *, passes: int, max_predictions: int, rng: np.random.Generator) -> Int64:
    """Returns the pass (C,) in which each candidate is labelled.

    Args:
      units: (C,) unit of each candidate, numbered from 0 in order.
      passes: how many maskings there are.
      max_predictions: most candidates of one pass; passes * max_predictions is at least C.
      rng: generator of this row, the same one for all passes.
    """
    sizes = np.bincount(units)
    order = np.argsort(rng.random(len(sizes)), kind="stable")
    # Which passes get one more is drawn too: else the first ones always would.
    turn = below(rng, passes)
    loads = [0] * passes
    firsts = np.flatnonzero(np.diff(units, prepend=-1)).tolist()
    pass_of = np.empty(len(units), np.int64)
    for unit, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        whole = min(loads) + size <= max_predictions
        for begin, count in [(0, size)] if whole else [(n, 1) for n in range(size)]:
            least = loads.index(min(loads))
            loads[least] += count
            first = firsts[unit] + begin
            pass_of[first : first + count] = (least + turn) % passes
    return pass_of
