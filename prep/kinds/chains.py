"""Which documents share rows where rows may cross documents.

The documents of a split stand in the order of their keys' hashes, as they do in the dataset. A
document begins a new chain when a hash of (seed, key) falls into the first 1/64 of its range; so
chains have 64 documents on average, and where one begins depends on that document alone. Rows are
packed within a chain. Hence a row depends on the documents of its chain and on nothing else: not on
workers, bundles or the number of shards, and a document added or taken away changes the rows of one
chain (or of two that it joins or parts).
"""

# D documents of a split

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from prep.seeds import hashes_below, keyed_hashes

__all__ = ["CHAIN_DOCUMENTS", "begins_chain", "chains_from"]

CHAIN_DOCUMENTS = 64
"""Documents of a chain, on average."""

_LOOK_AHEAD = 256  # documents whose keys are read at a time


def begins_chain(keys: npt.NDArray[np.uint8], *, seed: int) -> npt.NDArray[np.bool_]:
    """Returns for each key (n, 16) whether its document begins a chain."""
    hashes = keyed_hashes(seed=seed, keys=keys, stage="chain")
    return hashes_below(hashes, 1 / CHAIN_DOCUMENTS)


def chains_from(
    begin: int,
    end: int,
    *,
    total: int,
    starts: Callable[[int, int], npt.NDArray[np.bool_]],
) -> list[tuple[int, int]]:
    """Returns the chains [first, stop) that begin in [begin, end), by place in the split.

    Every chain is returned for exactly one of the intervals that make up [0, total).

    Args:
      begin: first place.
      end: behind the last place.
      total: D.
      starts: gives for places [a, b) whether each begins a chain; the first place of all does
        whatever it says.
    """
    firsts = [begin + n for n in np.flatnonzero(starts(begin, end)).tolist()]
    if begin == 0 < end and firsts[:1] != [0]:
        firsts.insert(0, 0)
    if not firsts:
        return []
    stop = end
    while stop < total:
        ahead = np.flatnonzero(starts(stop, min(stop + _LOOK_AHEAD, total)))
        if len(ahead):
            stop += int(ahead[0])
            break
        stop = min(stop + _LOOK_AHEAD, total)
    return list(zip(firsts, [*firsts[1:], stop], strict=True))
