"""Foreign record files: what identifies them, and the keys of their records."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.keys import key_rows, make_key, split_key
from limbeck.records.tfrecord import read_frames

__all__ = ["Source", "scan"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file; its bytes, not its name or place, decide the keys of its records."""

    path: str
    """Where it is."""

    sha256: str
    """SHA-256 of its bytes, hex."""

    num_records: int
    """How many records it has."""

    stamp: tuple[int, int]
    """Size and time of change (ns), by which `check_unchanged` knows it again."""

    @property
    def corpus(self) -> str:
        """The corpus that the keys of its records name."""
        return f"sha256:{self.sha256}"

    def keys(self) -> npt.NDArray[np.uint8]:
        """Returns the key of each record, uint8 (records, 16): (file, record number)."""
        return key_rows([make_key(corpus=self.corpus, page=i) for i in range(self.num_records)])

    def check_unchanged(self) -> None:
        """Refuses a file that was replaced or written to since it was hashed."""
        if _stamp(self.path) != self.stamp:
            raise LimbeckError(f"{self.path}: was changed while it was imported; import it again")


def scan(paths: Sequence[str]) -> tuple[Source, ...]:
    """Reads files once: hashes them, counts their records and checks every CRC.

    Returns:
      The files in the order of their hashes, so that the order of `paths` is of no account.

    Raises:
      LimbeckError: a file is not a TFRecord file, damaged or truncated.
      UsageError: there are no files, one is empty, or two have the same bytes.
    """
    if not paths:
        raise UsageError("no files to import; name at least one")
    sources = sorted((_scan(path) for path in paths), key=lambda source: source.sha256)
    for source in sources:
        if not source.num_records:
            raise UsageError(f"{source.path}: has no records; take it out, or copy it again")
    for one, other in zip(sources, sources[1:], strict=False):
        if one.sha256 == other.sha256:
            raise UsageError(f"{one.path} and {other.path} have the same bytes; name one of them")
    by_hash: dict[bytes, Source] = {}
    for source in sources:
        # A key holds 4 bytes of its corpus' hash; two files in 2^32 / 2 pairs would share them.
        corpus_hash = split_key(make_key(corpus=source.corpus, page=0)).corpus_hash
        other = by_hash.setdefault(corpus_hash, source)
        if other is not source:
            raise UsageError(
                f"{other.path} and {source.path} would get the same keys by a freak of chance; "
                "import them into two datasets"
            )
    return tuple(sources)


def _scan(path: str) -> Source:
    stamp = _stamp(path)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    num_records = sum(1 for _ in read_frames(path))
    source = Source(path=path, sha256=sha256, num_records=num_records, stamp=stamp)
    source.check_unchanged()
    return source


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
