"""Which rows of the parent's shard a shard of a partial family holds: a bitmap with ranks.

Rows of both shards stand in the same order (keys place them), so row r of the parent is row
`ranks[r // 64] + (ones of present[r // 64] below bit r % 64)` here, if its bit is set: one look-up,
whatever the fraction, in 1.5 bits a parent's row.
"""

# R rows of the parent's shard, N rows of ours, n rows asked for, W words of 64 bits

import dataclasses

import numpy as np
import numpy.typing as npt

__all__ = ["WORD_BITS", "Selection", "num_words"]

WORD_BITS = 64
Int64 = npt.NDArray[np.int64]


def num_words(records: int) -> int:
    """Returns W, the words of a bitmap over `records` rows."""
    return -(-records // WORD_BITS)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The rows of a parent's shard that are there."""

    records: int
    """R."""
    present: npt.NDArray[np.uint64]
    """(W,) bit r % 64 of word r // 64 is set if row r is there."""
    ranks: npt.NDArray[np.uint32]
    """(W,) set bits in the words before."""

    @classmethod
    def of(cls, rows: npt.NDArray[np.integer], records: int) -> "Selection":
        """Returns the selection of rows (N,) of a shard of `records` rows, in any order.

        Raises:
          ValueError: they are not different integers in [0, records).
        """
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise ValueError(f"parent_rows: expected integers (N,), got {rows.dtype} {rows.shape}")
        if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < records:
            raise ValueError(
                f"parent_rows: {rows.min()} to {rows.max()} are not rows of a shard of {records}"
            )
        bits = np.zeros(num_words(records) * WORD_BITS, np.uint8)
        bits[rows.astype(np.int64)] = 1
        if int(bits.sum(dtype=np.int64)) != rows.size:
            raise ValueError("parent_rows: a row of the parent is there twice")
        present = np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)
        return cls(records=records, present=present, ranks=_ranks(present))

    @property
    def num_rows(self) -> int:
        """N."""
        return int(np.bitwise_count(self.present).sum(dtype=np.int64))

    def find(self, rows: Int64) -> Int64:
        """Returns our row of each of the parent's rows (n,), -1 where it is not there."""
        words, bits = rows // WORD_BITS, (rows % WORD_BITS).astype(np.uint64)
        present = self.present[words]
        below = np.bitwise_count(present & ((np.uint64(1) << bits) - np.uint64(1)))
        is_there = (present >> bits) & np.uint64(1) == 1
        return np.where(is_there, self.ranks[words].astype(np.int64) + below, -1)

    def rows(self) -> Int64:
        """Returns the parent's rows (N,) that are there, ascending."""
        bits = np.unpackbits(self.present.astype("<u8").view(np.uint8), bitorder="little")
        return np.flatnonzero(bits).astype(np.int64)

    def problem(self, num_rows: int) -> str | None:
        """Returns what does not fit itself, or a shard of `num_rows` rows; None if all does."""
        if self.num_rows != num_rows:
            return f"{self.num_rows} rows of the parent for {num_rows} of ours"
        if (self.ranks != _ranks(self.present)).any():
            return "ranks do not count the bitmap"
        spare = num_words(self.records) * WORD_BITS - self.records
        if spare and int(self.present[-1]) >> (WORD_BITS - spare):
            return f"a row beyond the parent's {self.records}"
        return None


def _ranks(present: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    counts = np.bitwise_count(present).astype(np.uint32)
    return np.cumsum(counts, dtype=np.uint32) - counts
