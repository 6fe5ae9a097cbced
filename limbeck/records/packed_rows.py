"""Batches of records of numbers and single `bytes` values: read whole, not one by one.

Such a record is a fixed record whose holes differ in size: every field is a map entry

    0A |entry|  0A |name| name  12 |feature|  0A |list|  0A |value| value

in the order of the names, with lengths as varints. Where an entry ends is said at its start, so
the places of all fields of n records are found by a few array operations a field; only the CRCs and
the slices of the `bytes` fields cost something a record.
"""

# n records, F bytes of all of them

import functools
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from limbeck.records.layout import Field, Layout
from limbeck.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, MASK_DELTA, header

__all__ = ["PackedRows"]

Array = npt.NDArray[Any]
Uint8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

VARINT_BYTES = 5  # enough for 2**35; a record has at most 2**30
_header = functools.lru_cache(maxsize=1 << 14)(header)  # records have few different lengths


class PackedRows:
    """Decodes batches of a layout of numbers and `bytes` fields of shape ()."""

    def __init__(self, layout: Layout) -> None:
        """Refuses other layouts; see `fits`."""
        if not self.fits(layout):
            raise ValueError("the layout has fields of other types than numbers and bytes")
        self.layout = layout

    @staticmethod
    def fits(layout: Layout) -> bool:
        """Says whether a layout has numbers and `bytes` of shape () only."""
        return all(f.size_is_fixed or (f.dtype, f.shape) == ("bytes", ()) for f in layout.fields)

    def decode(
        self, data: Uint8, *, sizes: Int64, crcs: npt.NDArray[np.uint32], keys: Uint8
    ) -> dict[str, Array] | None:
        """Checks and decodes framed records that stand one behind the other.

        Args:
          data: uint8 (F,).
          sizes: (n,) framed lengths, of sum F.
          crcs: (n,) the masked payload CRC that each record must have.
          keys: (n, 16) the key that each record must have.

        Returns:
          field name -> array (n, *shape), for `bytes` an object array (n,) of bytes; None if a
          record is not the one that was written: the caller reads them singly to say which.
        """
        ends = np.cumsum(sizes)
        if not _frames_are_good(data, ends - sizes, ends, crcs):
            return None
        places = self._places(data, ends - sizes, ends)
        if places is None:
            return None
        raw = data.tobytes()
        result = {
            field.name: _values(field, data, raw, *places[field.name])
            for field in self.layout.fields
        }
        return result if (result["key"] == keys).all() else None

    def _places(
        self, data: Uint8, begins: Int64, ends: Int64
    ) -> dict[str, tuple[Int64, Int64]] | None:
        """Returns the start and the end (n,) of each field's value; None if a record differs."""
        # Reading a varint looks up to five bytes ahead.
        padded = np.concatenate([data, np.zeros(VARINT_BYTES, np.uint8)])
        cursor = _Cursor(padded, begins + HEADER_BYTES)
        cursor.expect(b"\x0a")
        cursor.end_is(ends - FOOTER_BYTES)
        places = {}
        for field in self.layout.sorted_fields:
            name = field.name.encode()
            cursor.expect(b"\x0a")
            end = cursor.length()
            cursor.expect(b"\x0a" + bytes([len(name)]) + name + b"\x12")
            cursor.end_is(end)
            cursor.expect(b"\x0a")
            cursor.end_is(end)
            cursor.expect(b"\x0a")
            cursor.end_is(end)
            if field.size_is_fixed:
                cursor.good &= bool((end - cursor.at == field.num_bytes).all())
            places[field.name] = cursor.at, end
            if not cursor.good:
                return None
            cursor.at = end
        return places if (cursor.at == ends - FOOTER_BYTES).all() else None


class _Cursor:
    """One place in each of n records."""

    def __init__(self, data: Uint8, at: Int64) -> None:
        self.data = data
        self.at = at
        self.good = True

    def expect(self, literal: bytes) -> None:
        """Steps over bytes that are the same in all records."""
        for byte in literal:
            self.good = self.good and bool((self._byte(0) == byte).all())
            self.at = self.at + 1

    def length(self) -> Int64:
        """Steps over a varint; returns the place so many bytes behind it."""
        value = np.zeros(len(self.at), np.int64)
        more = np.ones(len(self.at), np.bool_)
        size = np.zeros(len(self.at), np.int64)
        for number in range(VARINT_BYTES):
            byte = self._byte(number)
            value |= np.where(more, (byte & 0x7F).astype(np.int64) << (7 * number), 0)
            size += more
            more = more & (byte >= 0x80)
            if not more.any():
                break
        self.good = self.good and not bool(more.any())
        self.at = self.at + size
        return self.at + value

    def end_is(self, end: Int64) -> None:
        """Steps over a varint that must reach to `end`."""
        found = self.length()
        self.good = self.good and bool((found == end).all())

    def _byte(self, ahead: int) -> Uint8:
        return self.data[np.minimum(self.at + ahead, len(self.data) - 1)]


def _frames_are_good(data: Uint8, begins: Int64, ends: Int64, crcs: npt.NDArray[np.uint32]) -> bool:
    """Checks the length, its CRC, and both the stored and the computed CRC of every payload."""
    starts, stops = begins + HEADER_BYTES, ends - FOOTER_BYTES
    headers = b"".join(_header(size) for size in (stops - starts).tolist())
    if _windows(data, begins, HEADER_BYTES).tobytes() != headers:
        return False
    frozen, value = data.view(), google_crc32c.value
    frozen.flags.writeable = False  # the library takes read-only buffers only
    bounds = zip(starts.tolist(), stops.tolist(), strict=True)
    found = np.array([value(frozen[a:b]) for a, b in bounds], np.uint32)
    masked = (found >> np.uint32(15) | found << np.uint32(17)) + np.uint32(MASK_DELTA)
    stored = _windows(data, stops, FOOTER_BYTES).view("<u4")[:, 0]
    return bool((masked == crcs).all() and (stored == crcs).all())


def _values(field: Field, data: Uint8, raw: bytes, starts: Int64, ends: Int64) -> Array:
    if not field.size_is_fixed:
        values = np.empty(len(starts), object)
        values[:] = [raw[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        return values
    column = _windows(data, starts, field.num_bytes)
    dims = tuple(n for n in field.shape if n is not None)
    numbers = column.view(field.numpy_dtype).reshape(len(starts), *dims)
    return numbers.astype(field.numpy_dtype.newbyteorder("="), copy=False)


def _windows(data: Uint8, starts: Int64, size: int) -> Uint8:
    """Returns uint8 (n, size): the bytes from each of `starts` (n,) on."""
    if not len(starts):
        return np.empty((0, size), np.uint8)
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(data, size)[starts])
