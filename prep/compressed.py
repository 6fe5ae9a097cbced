"""Plain, bzip2, gzip and xz files behind one door, told apart by their first bytes."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, cast

from limbeck.config.errors import LimbeckError

__all__ = ["BLOCK_BYTES", "open_compressed", "read_blocks"]

BLOCK_BYTES = 256 << 10

_OTHER_PACKERS = {b"7z\xbc\xaf'\x1c": "7z", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd"}


def open_compressed(path: str) -> IO[bytes]:
    """Opens a file for reading its unpacked bytes.

    Raises:
      LimbeckError: it is packed in a way that is not read here.
      OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    for signature, name in _OTHER_PACKERS.items():
        if head.startswith(signature):
            raise LimbeckError(
                f"{path}: is packed with {name}; unpack it first (bz2, gz and xz are read as is)"
            )
    if head.startswith(b"BZh"):
        return bz2.open(path)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.open(path)
    return open(path, "rb")


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
