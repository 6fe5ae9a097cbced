"""Several corpora in one run: position -> (corpus, position inside it), by arithmetic alone.

With weights a_0, a_1, ... that add up to A, the first p positions of the run hold floor(p a_0 / A)
rows of corpus 0; the positions that are left are shared out among the other corpora in the same
way. So any stretch of n positions has n a_c / A rows of corpus c, give or take one for each corpus
before it; after A positions corpus c has fed exactly a_c rows. Nothing is kept but p: which epoch
each corpus is in, and where, follows from it, for every number of ranks and every batch.

Where the weights are the corpora's sizes, all of them end their epochs together; a power of the
sizes below 1 feeds small corpora more often than that.
"""

# C corpora, n positions

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from math import gcd, lcm

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order.batches import Boundary, GlobalBatch, Order

__all__ = ["MAX_TOTAL", "Mixture", "Share", "shares", "size_weights", "whole_weights"]

Int64 = npt.NDArray[np.int64]

MAX_TOTAL = 1 << 40  # of the weights: times a batch of 2^22 rows they still fit 63 bits
MAX_STRETCH = 1 << 22
ROUNDED = 1 << 30  # what weights add up to, about, where they are no ratio of small numbers
DIGITS = 40  # of powers: decimal arithmetic gives the same on every machine, `pow` need not


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one corpus feeds of a stretch of positions."""

    places: Int64
    """(m,) ascending places inside the stretch."""
    start: int
    """The corpus' own running position of the first of them; the others follow."""


def whole_weights(weights: Sequence[float | int | Decimal]) -> tuple[int, ...]:
    """Returns whole numbers in the ratio of `weights`, exactly so where that can be.

    A number counts as the decimal that it is written as, so 0.7 and 0.3 give 7 and 3. Where the
    ratio needs sums above 2^40, it is rounded to one part in 2^30.

    Raises:
      UsageError: a weight is not positive, or vanishes beside the others.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    if not exact or min(exact) <= 0:
        raise UsageError(f"weights are {list(weights)}; each must be positive")
    scale = lcm(*(value.denominator for value in exact))
    whole = [int(value * scale) for value in exact]
    divisor = gcd(*whole)
    whole = [value // divisor for value in whole]
    if sum(whole) > MAX_TOTAL:
        total = sum(whole)
        whole = [value * ROUNDED // total for value in whole]
        if min(whole) < 1:
            raise UsageError(f"weights are {list(weights)}; one is lost beside the others")
    return tuple(whole)


def size_weights(sizes: Sequence[int], exponent: float = 1.0) -> tuple[int, ...]:
    """Returns whole numbers in the ratio of size^exponent: what a corpus weighs by its size.

    1 is in proportion to the sizes, 0 equal shares; in between, small corpora come more often than
    their rows would have it. The tau of TextBrewer's multi-task sampling
    (`MultiTaskDistiller.train`), as an exact share of positions instead of a random draw.

    Args:
      sizes: (C,) rows of the corpora.
      exponent: at least 0; counts as the decimal that it is written as.

    Raises:
      UsageError: a size is 0, or a corpus vanishes beside the others.
    """
    with localcontext(Context(prec=DIGITS)):
        return whole_weights([Decimal(size) ** Decimal(str(exponent)) for size in sizes])


def shares(weights: Sequence[int], position: int, num_positions: int) -> list[Share]:
    """Returns what each corpus feeds of positions [position, position + num_positions).

    Args:
      weights: (C,) whole numbers >= 1; see `whole_weights`.
      position: running position of the run, of any size.
      num_positions: n, at most 2^22.
    """
    if num_positions > MAX_STRETCH or sum(weights) > MAX_TOTAL:
        raise ValueError(f"{num_positions} positions or weights {list(weights)} are too many")
    found = []
    left = np.arange(num_positions, dtype=np.int64)
    start, total = position, sum(weights)
    for weight in weights:
        # floor((start + i) * weight / total) for i = 0 ... n, without leaving 63 bits.
        before, rest = divmod(start * weight, total)
        counts = (rest + np.arange(len(left) + 1, dtype=np.int64) * weight) // total
        taken = counts[1:] > counts[:-1]
        found.append(Share(places=left[taken], start=before))
        left, start, total = left[~taken], start - before, total - weight
    return found


@dataclass(frozen=True)
class Mixture:
    """The order in which a run sees the rows of several corpora, numbered one after the other."""

    orders: tuple[Order, ...]
    """Of each corpus; each has a name of its own, and batches run on across its epochs."""

    weights: tuple[int, ...]
    """Whole numbers: shares of the positions."""

    def __post_init__(self) -> None:
        """Refuses what does not go together."""
        if len(self.orders) != len(self.weights) or not self.orders:
            raise ValueError(f"{len(self.orders)} orders and {len(self.weights)} weights")
        if len({order.name for order in self.orders}) < len(self.orders):
            raise ValueError("two corpora have one name, and so one order")
        if any(order.boundary != "run_on" for order in self.orders):
            raise UsageError("boundary close has no meaning for a mixture: epochs end apart")
        for order in self.orders:
            if not order.num_rows:
                raise LimbeckError(f"corpus {order.name!r} has 0 rows")
        # The first corpus may have to give a whole batch; `shares` counts in 63 bits.
        if min(self.weights) < 1 or sum(self.weights) > MAX_TOTAL:
            raise UsageError(f"weights are {list(self.weights)}; they must be from 1 to 2^40")

    @property
    def num_rows(self) -> int:
        """N, rows of all corpora."""
        return sum(order.num_rows for order in self.orders)

    @property
    def seed(self) -> int:
        """Chooses the permutations."""
        return self.orders[0].seed

    @property
    def boundary(self) -> Boundary:
        """`run_on`."""
        return self.orders[0].boundary

    @property
    def mode(self) -> str:
        """What a state keeps of it: the kind of order, and a digest of names and weights."""
        parts = zip(self.orders, self.weights, strict=True)
        text = repr([(order.name, order.num_rows, weight) for order, weight in parts])
        return f"{self.orders[0].mode}, mixture {hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def epoch_of(self, position: int) -> int:
        """Returns how often the run has fed as many rows as there are; see `epochs_at`."""
        return position // self.num_rows

    def epochs_at(self, position: int) -> dict[str, float]:
        """Returns corpus -> epochs that it has fed before `position`."""
        parts = shares(self.weights, position, 0)
        return {
            order.name: part.start / order.num_rows
            for order, part in zip(self.orders, parts, strict=True)
        }

    def batch_rows(self, position: int, global_batch: int) -> GlobalBatch:
        """Returns the batch that starts at `position`; see `Order.batch_rows`.

        Its epochs are those of each row's own corpus.
        """
        if position < 0 or not 1 <= global_batch <= MAX_STRETCH:
            raise ValueError(
                f"position is {position} and global_batch is {global_batch}; "
                f"they must be >= 0 and from 1 to {MAX_STRETCH}"
            )
        if position + global_batch > np.iinfo(np.int64).max:
            raise LimbeckError(f"position {position} does not fit 64 bits; start a new run")
        rows, epochs = np.empty((2, global_batch), np.int64)
        first_row = 0
        for order, part in zip(
            self.orders, shares(self.weights, position, global_batch), strict=True
        ):
            if len(part.places):
                batch = order.batch_rows(part.start, len(part.places))
                rows[part.places], epochs[part.places] = batch.rows + first_row, batch.epochs
            first_row += order.num_rows
        return GlobalBatch(
            rows=rows,
            positions=np.arange(position, position + global_batch, dtype=np.int64),
            epochs=epochs,
            next_position=position + global_batch,
        )
