"""Which documents are held out: a hash of (seed, corpus, page), and nothing else.

All duplicates, sequences and examples of a page carry its corpus and page number in the first ten
bytes of their key, so they all fall on the same side.
"""

# D documents

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from prep.seeds import hashes_below, keyed_hash, keyed_hashes

__all__ = ["Split", "SplitMap", "heldout_mask", "page_prefix", "record_key", "split_of"]

Split = Literal["train", "heldout"]

_PAGE_BYTES = 10  # of a record's key: 4 of the corpus, 6 of the page


def page_prefix(key: bytes) -> bytes:
    """Returns the part of a record's key that names its corpus and page."""
    return key[:_PAGE_BYTES]


def record_key(page: bytes, *, duplicate: int, sequence: int) -> bytes:
    """Returns the key of an example of the page that `page_prefix` named."""
    return page + struct.pack(">HI", duplicate, sequence)


def split_of(key: bytes, *, seed: int, heldout_fraction: float) -> Split:
    """Returns the split of the record `key` (16 bytes); a fraction of 0 holds nothing out."""
    value = keyed_hash(seed=seed, key=page_prefix(key), stage="split")
    return "heldout" if value < heldout_fraction * 2.0**64 else "train"


def heldout_mask(
    keys: npt.NDArray[np.uint8], *, seed: int, heldout_fraction: float
) -> npt.NDArray[np.bool_]:
    """Returns for each key (D, 16) whether its document is held out; equals `split_of`."""
    hashes = keyed_hashes(seed=seed, keys=keys[:, :_PAGE_BYTES], stage="split")
    return hashes_below(hashes, heldout_fraction)


@dataclass(frozen=True, kw_only=True)
class SplitMap:
    """The split of every document of a dataset, by row; small enough to send to every worker."""

    num_documents: int
    """D."""
    packed: bytes
    """One bit a document, set where it is held out; deflated."""

    @classmethod
    def of(cls, heldout: npt.NDArray[np.bool_]) -> "SplitMap":
        """Packs what `heldout_mask` returned (D,)."""
        packed = zlib.compress(np.packbits(heldout).tobytes(), level=6)
        return cls(num_documents=len(heldout), packed=packed)

    @property
    def heldout(self) -> npt.NDArray[np.bool_]:
        """(D,) True where a document is held out."""
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=self.num_documents).astype(bool)

    def rows(self, split: Split) -> npt.NDArray[np.int64]:
        """Returns the rows of a split, ascending."""
        heldout = self.heldout
        return np.flatnonzero(heldout if split == "heldout" else ~heldout)
