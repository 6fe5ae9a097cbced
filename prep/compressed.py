"""Plain, bzip2, gzip and xz files behind one door, told apart by their first bytes."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, BinaryIO, Literal, cast

from limbeck.config.errors import LimbeckError

__all__ = [
    "BLOCK_BYTES",
    "HEAD_BYTES",
    "Packing",
    "packing_of",
    "read_blocks",
    "unpacked",
]

Packing = Literal["plain", "bz2", "gz", "xz"]

BLOCK_BYTES = 256 << 10
HEAD_BYTES = 8
"""So many first bytes tell how a file is packed."""

_PACKERS: dict[bytes, Packing] = {b"BZh": "bz2", b"\x1f\x8b": "gz", b"\xfd7zXZ\0": "xz"}
_OTHER_PACKERS = {b"7z\xbc\xaf'\x1c": "7z", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd"}


def packing_of(head: bytes, *, path: str) -> Packing:
    """Tells from the first `HEAD_BYTES` of a file how it is packed.

    Raises:
      LimbeckError: in a way that is not read here.
    """
    for signature, name in _OTHER_PACKERS.items():
        if head.startswith(signature):
            raise LimbeckError(
                f"{path}: is packed with {name}; unpack it first (bz2, gz and xz are read as is)"
            )
    for signature, packing in _PACKERS.items():
        if head.startswith(signature):
            return packing
    return "plain"


def unpacked(file: BinaryIO, packing: Packing) -> IO[bytes]:
    """Returns a file of the unpacked bytes; closing it leaves `file` open, but for a plain one."""
    if packing == "bz2":
        return bz2.open(file)
    if packing == "gz":
        return cast(IO[bytes], gzip.open(file))
    if packing == "xz":
        return lzma.open(file)
    return file


def read_blocks(file: IO[bytes], *, path: str) -> Iterator[bytes]:
    """Yields the unpacked bytes of a file in blocks.

    Raises:
      LimbeckError: the file is cut off or damaged.
    """
    while True:
        try:
            block = file.read(BLOCK_BYTES)
        except EOFError:
            raise LimbeckError(
                f"{path}: cut off: its compressed data ends in the middle; fetch it again"
            ) from None
        except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise _damaged(path, error) from None
        except OSError as error:
            if error.errno is None:  # bz2 reports bad data as an OSError without a number
                raise _damaged(path, error) from None
            raise
        if not block:
            return
        yield block


def _damaged(path: str, error: Exception) -> LimbeckError:
    return LimbeckError(f"{path}: its compressed data is damaged ({error}); fetch it again")
