"""An order for storage that reads stretches faster than single rows: remote or spinning.

Blocks of neighbouring rows are permuted, then the rows inside windows of blocks that follow each
other in that order. A reader that keeps the blocks of a window at hand reads every byte once an
epoch, block by block. Still a bijection of [0, N), stateless, with nothing to set up.

All blocks have `block_rows` rows but the dataset's last one, which may be short; its place among
the others is drawn with the epoch's key. A window has `window_blocks` blocks and the last one up
to twice as many less one, so that no epoch ends with a few rows that hardly mix.
"""

# K blocks, M windows

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError
from limbeck.order.permutation import Permutation

__all__ = ["TwoLevel", "TwoLevelPermutation", "Window"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TwoLevel:
    """Sizes of a two-level order."""

    block_rows: int = 128
    """Neighbouring rows that stay together; a block should be worth one read."""

    window_blocks: int = 1024
    """Blocks whose rows are mixed: a reader has to hold as many, and up to twice that."""

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be."""
        for name in ("block_rows", "window_blocks"):
            if not 1 <= getattr(self, name) <= 2**31:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 1 to 2^31")

    def __str__(self) -> str:
        """Returns `two_level 128x1024`."""
        return f"two_level {self.block_rows}x{self.window_blocks}"


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of positions whose rows lie in one set of blocks."""

    start: int
    """First position of the epoch."""
    stop: int
    """Behind its last one."""
    first_block: int
    """Place of its first block in the order of blocks."""


@dataclass(frozen=True)
class TwoLevelPermutation:
    """A bijection of [0, num_rows) chosen by `key`; call it on int64 arrays."""

    num_rows: int
    """N, from 0 to 2^62."""

    key: bytes
    """Any bytes; equal keys, sizes and N give equal permutations, on every machine."""

    sizes: TwoLevel
    """Of blocks and windows."""

    @property
    def num_blocks(self) -> int:
        """K."""
        return -(-self.num_rows // self.sizes.block_rows)

    @property
    def num_windows(self) -> int:
        """M; 0 where there are no rows."""
        if not self.num_rows:
            return 0
        return max(1, self.num_blocks // self.sizes.window_blocks)

    @property
    def short_rows(self) -> int:
        """Rows of the dataset's last block."""
        return self.num_rows - (self.num_blocks - 1) * self.sizes.block_rows

    @functools.cached_property
    def short_place(self) -> int:
        """Place of the dataset's last block in the order of blocks."""
        digest = hashlib.sha256(self.key + b" short").digest()
        return int.from_bytes(digest, "little") % max(self.num_blocks, 1)

    @functools.cached_property
    def _blocks(self) -> Permutation:
        """The order of the other blocks."""
        return Permutation(max(self.num_blocks - 1, 0), self.key + b" blocks")

    def window(self, number: int) -> Window:
        """Returns window `number` of [0, M)."""
        first = number * self.sizes.window_blocks
        is_last = number == self.num_windows - 1
        end = self.num_blocks if is_last else first + self.sizes.window_blocks
        return Window(start=self._start(first), stop=self._start(end), first_block=first)

    def window_of(self, position: int) -> int:
        """Returns the number of the window that a position of the epoch lies in."""
        place = int(self._places(np.array([position]))[0][0])
        return min(place // self.sizes.window_blocks, self.num_windows - 1)

    def __call__(self, positions: npt.ArrayLike) -> Int64:
        """Returns the rows at `positions`.

        Args:
          positions: integers of any shape, each in [0, N).

        Returns:
          int64 rows of the same shape, each in [0, N).
        """
        given = np.asarray(positions, dtype=np.int64)
        if given.size and not (given.min() >= 0 and given.max() < self.num_rows):
            raise ValueError(
                f"positions span {given.min()} to {given.max()}; "
                f"they must be in [0, {self.num_rows})"
            )
        flat = given.reshape(-1)
        numbers = np.minimum(
            self._places(flat)[0] // self.sizes.window_blocks, self.num_windows - 1
        )
        mixed = np.empty_like(flat)
        for number in np.unique(numbers).tolist():
            window, here = self.window(number), numbers == number
            inside = Permutation(window.stop - window.start, self.key + b" window %d" % number)
            mixed[here] = window.start + inside(flat[here] - window.start)
        return self._rows(mixed).reshape(given.shape)

    def _rows(self, positions: Int64) -> Int64:
        """The rows at positions (n,) when only the blocks are permuted."""
        places, offsets = self._places(positions)
        is_short = places == self.short_place
        others = np.where(is_short, 0, places - (places > self.short_place))
        blocks = np.full(len(places), self.num_blocks - 1, np.int64)
        blocks[~is_short] = self._blocks(others[~is_short])
        return blocks * self.sizes.block_rows + offsets

    def _places(self, positions: Int64) -> tuple[Int64, Int64]:
        """Place of the block (n,) and row inside it (n,) of positions (n,)."""
        size, missing = self.sizes.block_rows, self.sizes.block_rows - self.short_rows
        behind = positions >= self.short_place * size + self.short_rows
        filled = positions + np.where(behind, missing, 0)
        return filled // size, filled % size

    def _start(self, place: int) -> int:
        """First position of the block at `place`, or N."""
        missing = self.sizes.block_rows - self.short_rows if place > self.short_place else 0
        return place * self.sizes.block_rows - missing
