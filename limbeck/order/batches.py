"""From a running position to the rows of a global batch, and to each rank's part of it.

Positions count rows over all epochs: position p lies in epoch p div N, at place p mod N of that
epoch's permutation. The rows of a batch are a pure function of (N, seed, position, B), so they do
not depend on the number of ranks, and a resumed run reads nothing of what it consumed before.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order.permutation import MAX_ROWS, Permutation, epoch_key
from limbeck.order.two_level import TwoLevel, TwoLevelPermutation

__all__ = ["Boundary", "GlobalBatch", "Order", "padded_size", "rank_slice"]

Boundary = Literal["run_on", "close"]


def rank_slice(num_rows: int, rank: int, world_size: int) -> slice:
    """Returns the rows [rB//W, (r+1)B//W) that rank r of W takes of a batch of B rows.

    The slices of all ranks, one after the other, are the batch; sizes differ by at most one row,
    and some are empty when W > B.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}; it must be in [0, {world_size})")
    return slice(rank * num_rows // world_size, (rank + 1) * num_rows // world_size)


def padded_size(num_rows: int, world_size: int) -> int:
    """Returns ceil(B/W): the static number of rows to which every rank's slice is padded."""
    return -(-num_rows // world_size)


@dataclass(frozen=True, kw_only=True)
class GlobalBatch:
    """The rows of one global batch, in the order in which the ranks' slices follow each other."""

    rows: npt.NDArray[np.int64]
    """(n,) rows of the dataset; n = B except at the end of an epoch under `close`."""

    positions: npt.NDArray[np.int64]
    """(n,) running positions, consecutive."""

    epochs: npt.NDArray[np.int64]
    """(n,) epoch of each row; not falling inside a corpus."""

    next_position: int
    """Where the next batch starts."""


@dataclass(frozen=True)
class Order:
    """The order in which a run sees the rows of a dataset, epoch after epoch."""

    num_rows: int
    """N, rows of the dataset."""

    seed: int
    """Chooses the permutation of every epoch."""

    boundary: Boundary = "run_on"
    """`run_on`: batches run across the end of an epoch. `close`: an epoch's last batch is short."""

    two_level: TwoLevel | None = None
    """Sizes of the two-level order; None for a permutation of all rows."""

    name: str = ""
    """Of the corpus in a mixture: corpora of one size have orders of their own."""

    def __post_init__(self) -> None:
        """Refuses a size or boundary that cannot be."""
        if not 0 <= self.num_rows <= MAX_ROWS:
            raise UsageError(f"num_rows is {self.num_rows}; it must be from 0 to 2^62")
        if self.boundary not in ("run_on", "close"):
            raise UsageError(f"boundary is {self.boundary!r}; it must be 'run_on' or 'close'")

    @property
    def mode(self) -> str:
        """What a state keeps of the kind of order: `full` or `two_level 128x1024`."""
        return "full" if self.two_level is None else str(self.two_level)

    def epoch_of(self, position: int) -> int:
        """Returns the epoch in which a running position lies."""
        return position // self.num_rows if self.num_rows else 0

    def epochs_at(self, position: int) -> dict[str, float]:
        """Returns name -> epochs fed before `position`."""
        return {self.name: position / max(self.num_rows, 1)}

    def batch_rows(self, position: int, global_batch: int) -> GlobalBatch:
        """Returns the batch that starts at `position`.

        Args:
          position: running position of its first row, >= 0.
          global_batch: B, rows over all ranks and accumulation steps, >= 1.

        Raises:
          LimbeckError: the dataset has no rows.
        """
        if position < 0 or global_batch < 1:
            raise ValueError(
                f"position is {position} and global_batch is {global_batch}; "
                "they must be >= 0 and >= 1"
            )
        if not self.num_rows:
            raise LimbeckError("the dataset has 0 rows, so there is no batch to form")
        stop = self._stop(position, global_batch)
        positions = np.arange(position, stop, dtype=np.int64)
        epochs = positions // self.num_rows
        places = positions - epochs * self.num_rows
        rows = np.empty_like(positions)
        first, last = int(epochs[0]), int(epochs[-1])
        starts = np.searchsorted(epochs, np.arange(first, last + 2))
        for epoch, start, end in zip(range(first, last + 1), starts[:-1], starts[1:], strict=True):
            rows[start:end] = self.permutation(epoch)(places[start:end])
        return GlobalBatch(rows=rows, positions=positions, epochs=epochs, next_position=stop)

    def permutation(self, epoch: int) -> Permutation | TwoLevelPermutation:
        """Returns the permutation of one epoch: place -> row."""
        key = epoch_key(seed=self.seed, epoch=epoch, name=self.name)
        if self.two_level is None:
            return Permutation(self.num_rows, key)
        return TwoLevelPermutation(self.num_rows, key, self.two_level)

    def _stop(self, position: int, global_batch: int) -> int:
        """The position after the batch's last row."""
        stop = position + global_batch
        if self.boundary == "close":
            stop = min(stop, (position // self.num_rows + 1) * self.num_rows)
        if stop > np.iinfo(np.int64).max:
            raise LimbeckError(f"position {stop} does not fit 64 bits; start a new run")
        return stop
