"""What of a file is read as one: a unit belongs to the range in which it begins.

Where units begin is a property of the file, never of the range that is read. So any way of cutting
a file into ranges gives the same units, each in exactly one range.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from limbeck.config.errors import LimbeckError
from prep.compressed import Packing, read_blocks, unpacked

__all__ = ["Unit", "Window", "plain_units", "stream_units"]

PLAIN_BYTES = 256 << 10
"""Unit of a file that is not packed. Even: the characters of UTF-16 are not cut."""

_CHUNK_BYTES = 1 << 20
_KEPT_CHUNKS = 8  # a block of bzip2 has at most 2.4 MB, and the search looks ahead


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A piece of an export."""

    begin: int
    """First byte in the file."""
    end: int
    """Behind its last byte in the file, counting a byte that it shares."""
    data: bytes
    """Unpacked; nothing for damage."""
    damage: str = ""
    """What is wrong with it; empty for a sound one."""


class Window:
    """Random access to a file that is read mostly forwards: each byte is fetched once.

    It passes by the file's own buffer: whoever reads on by `file` must seek first.
    """

    def __init__(self, file: BinaryIO, *, size: int, path: str) -> None:
        """Takes an open file, its bytes and its name."""
        # A remote file of Beam's buffers 16 MB ahead, which a short range does not want.
        self._file = getattr(file, "raw", file)
        self._path = path
        self.size = size
        self._chunks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, begin: int, end: int) -> bytes:
        """Returns the bytes [begin, end), as far as the file goes."""
        begin, end = max(begin, 0), min(end, self.size)
        if begin >= end:
            return b""
        first, last = begin // _CHUNK_BYTES, (end - 1) // _CHUNK_BYTES
        data = b"".join(self._chunk(number) for number in range(first, last + 1))
        return data[begin - first * _CHUNK_BYTES : end - first * _CHUNK_BYTES]

    def _chunk(self, number: int) -> bytes:
        if number not in self._chunks:
            self._chunks[number] = self._fetch(number * _CHUNK_BYTES)
            while len(self._chunks) > _KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        return self._chunks[number]

    def _fetch(self, begin: int) -> bytes:
        wanted = min(_CHUNK_BYTES, self.size - begin)
        self._file.seek(begin)
        pieces = []
        while wanted > 0 and (piece := self._file.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        if wanted > 0:
            raise LimbeckError(f"{self._path}: became shorter while it was read")
        return b"".join(pieces)


def plain_units(file: BinaryIO, *, size: int, begin: int, path: str) -> Iterator[Unit]:
    """Yields the units of a plain file that begin at byte `begin` or later."""
    window = Window(file, size=size, path=path)
    for start in range(-(-begin // PLAIN_BYTES) * PLAIN_BYTES, size, PLAIN_BYTES):
        end = min(start + PLAIN_BYTES, size)
        yield Unit(begin=start, end=end, data=window.read(start, end))


def stream_units(
    file: BinaryIO, *, packing: Packing, size: int, begin: int, path: str
) -> Iterator[Unit]:
    """Yields a file that can only be read from its beginning: pieces that all begin at byte 0.

    Raises:
      LimbeckError: the file is cut off or damaged.
    """
    if begin > 0:
        return
    file.seek(0)
    for block in read_blocks(unpacked(file, packing), path=path):
        yield Unit(begin=0, end=size, data=block)
