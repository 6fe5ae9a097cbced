"""Blocks of bzip2, found and unpacked one by one, in files of one stream or of many.

A stream is `BZh` and a digit, blocks, an end mark, a checksum and zero bits up to a whole byte.
Each block begins with a 48-bit mark and its CRC; nothing aligns it and nothing says how long it is.
So the marks are searched at all eight bit offsets; what lies between two marks, packed anew as a
stream of one block, is a block if it unpacks and its CRC is right.

  * A mark by accident inside a block (once in 2^48 bits) makes the block fail at that mark and
    succeed at the next one. Who begins to read behind the block's own mark and meets the accident
    first, looks back whether a block covers it.
  * A mark with which no block begins is damage: a unit without data, up to the next mark.
  * A stream's end mark must be followed by the next stream's first block, or by nothing.

Format: https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf (unofficial; there is no
official one).
"""

import bz2
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from limbeck.config.errors import LimbeckError
from prep.dumps.units import Unit, Window

__all__ = ["Mark", "bzip2_units", "check_end", "find_marks"]

_BLOCK = 0x314159265359  # pi
_END = 0x177245385090  # square root of pi
_MARK_BITS = 48
_CRC_BITS = 32
_HEADER_BITS = 32  # BZh9
_END_BITS = _MARK_BITS + _CRC_BITS

# A block holds at most 900,001 symbols of at most 20 bits, after some tables.
_MAX_BLOCK_BYTES = 2_400_000
_MAX_ENDS = 8  # marks by accident in one block: more than 0 has never been seen
_SEARCH_BYTES = 1 << 20
_SPAN = 7  # a mark touches so many bytes


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Mark:
    """48 bits that look like the beginning of a block or the end of a stream."""

    bit: int
    """Where, in bits from the beginning of the file."""
    is_end: bool
    """Whether it is a stream's end mark."""

    @property
    def byte(self) -> int:
        """The byte in which it begins."""
        return self.bit // 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pattern:
    """A mark at one of the eight bit offsets: five whole bytes and what is beside them."""

    offset: int
    is_end: bool
    middle: bytes
    first: int
    first_mask: int
    last: int
    last_mask: int


def _pattern(mark: int, offset: int, *, is_end: bool) -> _Pattern:
    first, *middle, last = (mark << (8 - offset)).to_bytes(_SPAN, "big")
    return _Pattern(
        offset=offset,
        is_end=is_end,
        middle=bytes(middle),
        first=first,
        first_mask=0xFF >> offset,
        last=last,
        last_mask=0xFF << (8 - offset) & 0xFF,
    )


_PATTERNS = [
    _pattern(mark, offset, is_end=is_end)
    for mark, is_end in ((_BLOCK, False), (_END, True))
    for offset in range(8)
]


def find_marks(window: Window, *, begin: int, end: int) -> Iterator[Mark]:
    """Yields the marks that begin in the bytes [begin, end), in order."""
    for start in range(begin, end, _SEARCH_BYTES):
        stop = min(start + _SEARCH_BYTES, end)
        yield from _marks_in(window.read(start, stop + _SPAN - 1), start, stop - start)


def _marks_in(data: bytes, start: int, num_bytes: int) -> list[Mark]:
    """Finds the marks in the first `num_bytes` of data; 6 more bytes complete the last ones."""
    data += bytes(num_bytes + _SPAN - 1 - len(data))  # at the end of the file
    found = []
    for pattern in _PATTERNS:
        at = data.find(pattern.middle, 1)
        while 0 < at <= num_bytes:
            fits = (data[at - 1] & pattern.first_mask) == pattern.first
            if fits and (data[at + 5] & pattern.last_mask) == pattern.last:
                bit = (start + at - 1) * 8 + pattern.offset
                found.append(Mark(bit=bit, is_end=pattern.is_end))
            at = data.find(pattern.middle, at + 1)
    return sorted(found)


def bzip2_units(file: BinaryIO, *, size: int, begin: int, path: str) -> Iterator[Unit]:
    """Yields the blocks of a bzip2 file that begin in byte `begin` or later.

    Raises:
      LimbeckError: the file is cut off.
    """
    return _Blocks(Window(file, size=size, path=path), path).units(begin)


def check_end(file: BinaryIO, *, size: int, path: str) -> None:
    """Checks that the last block of a bzip2 file is followed by an end mark.

    Raises:
      LimbeckError: the file is cut off.
    """
    begin = max(0, size - _MAX_BLOCK_BYTES)
    marks = list(find_marks(Window(file, size=size, path=path), begin=begin, end=size))
    if marks and not marks[-1].is_end:
        raise _cut_off(path)


def _cut_off(path: str) -> LimbeckError:
    return LimbeckError(f"{path}: cut off: its compressed data ends in the middle; fetch it again")


class _Blocks:
    """The blocks of one file."""

    def __init__(self, window: Window, path: str) -> None:
        self._window = window
        self._path = path

    def units(self, begin: int) -> Iterator[Unit]:
        """Yields the units that begin in byte `begin` or later."""
        # An end mark just before `begin` says whether a gap begins in it.
        first = max(0, begin - _END_BITS // 8 - 1)
        marks = _Ahead(find_marks(self._window, begin=first, end=self._window.size))
        is_sure = begin == 0  # whether the next mark cannot lie inside a block
        expected = 0 if is_sure else None  # bit where a stream must begin, if it is known
        while (mark := marks.take()) is not None:
            if mark.byte < begin and not mark.is_end:
                continue
            block = None if mark.is_end else self._block(mark, marks)
            looks_right = is_sure or block or _is_stream_end(mark, marks)
            is_sure = True
            if not looks_right and (end := self._covering(mark)) is not None:
                marks.drop_until(end.bit)
                continue
            if (gap := _gap(expected, mark)) is not None and gap.begin >= begin:
                yield gap
            expected = _stream_begin(mark) if mark.is_end else None
            if not mark.is_end:
                yield self._unit(mark, block, marks)
        self._check_rest(expected)

    def _unit(self, mark: Mark, block: "_Block | None", marks: "_Ahead") -> Unit:
        """Returns what begins at a mark, and takes the marks that lie inside it."""
        if block is not None:
            marks.drop_until(block.end.bit)
            return Unit(begin=mark.byte, end=-(-block.end.bit // 8), data=block.data)
        following = next(marks.peek(1), None)
        if following is None:
            raise _cut_off(self._path)
        return Unit(
            begin=mark.byte,
            end=-(-following.bit // 8),
            data=b"",
            damage="a block of bzip2 that does not unpack",
        )

    def _block(self, mark: Mark, marks: "_Ahead") -> "_Block | None":
        """Finds the mark that ends the block at `mark`; None if it is no sound block."""
        for end in marks.peek(_MAX_ENDS):
            if end.byte - mark.byte > _MAX_BLOCK_BYTES:
                break
            if (data := self._unpack(mark.bit, end.bit)) is not None:
                return _Block(end=end, data=data)
        return None

    def _unpack(self, begin: int, end: int) -> bytes | None:
        """Unpacks the bits [begin, end) as one block; None if they are not one."""
        num_bits = end - begin
        if num_bits <= _MARK_BITS + _CRC_BITS:
            return None
        raw = int.from_bytes(self._window.read(begin // 8, -(-end // 8)), "big")
        bits = (raw >> (-end % 8)) & ((1 << num_bits) - 1)
        crc = (bits >> (num_bits - _MARK_BITS - _CRC_BITS)) & ((1 << _CRC_BITS) - 1)
        # The checksum of a stream of one block is the block's.
        whole = (bits << _MARK_BITS | _END) << _CRC_BITS | crc
        num_bits += _END_BITS
        stream = b"BZh9" + (whole << (-num_bits % 8)).to_bytes(-(-num_bits // 8), "big")
        unpacker = bz2.BZ2Decompressor()
        try:
            data = unpacker.decompress(stream)
        except OSError:
            return None
        return data if unpacker.eof else None

    def _covering(self, mark: Mark) -> Mark | None:
        """Returns the end of the block inside which a mark lies; None if there is none."""
        begin = max(0, mark.byte - _MAX_BLOCK_BYTES)
        near = find_marks(self._window, begin=begin, end=mark.byte + 1)
        before = [m for m in near if m.bit < mark.bit]
        for start in before[: -_MAX_ENDS - 1 : -1]:
            marks = find_marks(self._window, begin=start.byte, end=self._window.size)
            behind = _Ahead(m for m in marks if m.bit > start.bit)
            block = None if start.is_end else self._block(start, behind)
            if block is not None and block.end.bit > mark.bit:
                return block.end
        return None

    def _check_rest(self, expected: int | None) -> None:
        """Refuses the beginning of a stream at the end of the file; other rests are ignored."""
        if expected is not None:
            begin = expected // 8
            if self._window.read(begin, begin + 3) == b"BZh":
                raise _cut_off(self._path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """A sound block."""

    end: Mark
    """Where it ends."""
    data: bytes
    """What it holds."""


def _stream_begin(end: Mark) -> int:
    """Returns the bit at which the next stream begins."""
    return -(-(end.bit + _END_BITS) // 8) * 8


def _is_stream_end(mark: Mark, marks: "_Ahead") -> bool:
    """Whether the next stream, if there is one, begins where it must behind an end mark."""
    following = next(marks.peek(1), None)
    return mark.is_end and _gap(_stream_begin(mark), following) is None


def _gap(expected: int | None, mark: Mark | None) -> Unit | None:
    """Returns what lies between the bit where a stream begins and its first mark."""
    if expected is None or mark is None or mark.bit == expected + _HEADER_BITS:
        return None
    return Unit(
        begin=expected // 8,
        end=-(-mark.bit // 8),
        data=b"",
        damage="a stream of bzip2 whose first block is lost",
    )


class _Ahead:
    """Marks in order, with a look at those to come."""

    def __init__(self, marks: Iterator[Mark]) -> None:
        self._marks = marks
        self._seen: deque[Mark] = deque()

    def take(self) -> Mark | None:
        """Returns the next mark, None behind the last one."""
        if self._seen:
            return self._seen.popleft()
        return next(self._marks, None)

    def peek(self, number: int) -> Iterator[Mark]:
        """Yields up to `number` marks to come without taking them."""
        for index in range(number):
            if index == len(self._seen):
                self._seen.extend(itertools.islice(self._marks, 1))
            if index == len(self._seen):
                return
            yield self._seen[index]

    def drop_until(self, bit: int) -> None:
        """Takes the marks before a bit."""
        while (mark := next(self.peek(1), None)) is not None and mark.bit < bit:
            self.take()
