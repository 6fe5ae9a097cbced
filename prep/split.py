"""Which documents are held out: a hash of (seed, corpus, page), and nothing else.

All duplicates, sequences and examples of a page carry its corpus and page number in the first ten
bytes of their key, so they all fall on the same side.
"""

from typing import Literal

from prep.seeds import keyed_hash

__all__ = ["Split", "page_prefix", "split_of"]

Split = Literal["train", "heldout"]

_PAGE_BYTES = 10  # of a record's key: 4 of the corpus, 6 of the page


def page_prefix(key: bytes) -> bytes:
    """Returns the part of a record's key that names its corpus and page."""
    return key[:_PAGE_BYTES]


def split_of(key: bytes, *, seed: int, heldout_fraction: float) -> Split:
    """Returns the split of the record `key` (16 bytes); a fraction of 0 holds nothing out."""
    value = keyed_hash(seed=seed, key=page_prefix(key), stage="split")
    return "heldout" if value < heldout_fraction * 2.0**64 else "train"
