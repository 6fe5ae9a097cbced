"""Fields of any number of bits, packed record by record; all records of a batch at once.

A record's bits are its sections one after the other, most significant bit first, and zeros up to
the next byte. A section has any number of fields, and a field up to 32 bits.
"""

# n records, F fields of a section, record by record

import numpy as np

from limbeck.config.errors import LimbeckError

__all__ = ["BitReader", "BitWriter"]


class _Cursor:
    """Where the next section of each record begins."""

    def __init__(self, num_records: int) -> None:
        self.used = np.zeros(num_records, np.int64)

    def take(self, widths: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """(F,) first bit of each field in its record; the section is used up then."""
        totals = np.bincount(owners, widths, minlength=len(self.used)).astype(np.int64)
        before = np.cumsum(totals) - totals
        offsets = self.used[owners] + np.cumsum(widths) - widths - before[owners]
        self.used += totals
        return offsets


class BitWriter:
    """Collects sections, then gives the bytes of every record.

    Args:
      num_records: n.
    """

    def __init__(self, num_records: int) -> None:
        self._cursor = _Cursor(num_records)
        self._fields: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self._ones: list[tuple[np.ndarray, np.ndarray]] = []

    def put(self, values: np.ndarray, widths: np.ndarray | int, owners: np.ndarray) -> None:
        """A section of (F,) unsigned values of so many bits, each of the record that owns it."""
        widths = np.broadcast_to(np.asarray(widths, np.int64), owners.shape)
        self._fields.append((self._cursor.take(widths, owners), widths, values, owners))

    def put_ones(
        self, lengths: np.ndarray, owners: np.ndarray, fields: np.ndarray, places: np.ndarray
    ) -> None:
        """A section of (F,) runs of zeros with ones in them.

        Args:
          lengths: (F,) bits of each run.
          owners: (F,) its record.
          fields: (X,) the run that each one is in.
          places: (X,) its bit there.
        """
        offsets = self._cursor.take(lengths, owners)
        self._ones.append((offsets[fields] + places, owners[fields]))

    def finish(self) -> list[bytes]:
        """The bytes of each record."""
        sizes = -(-self._cursor.used // 8)
        first = (np.cumsum(sizes) - sizes) * 8
        bits = np.zeros(int(sizes.sum()) * 8, np.uint8)
        for offsets, widths, values, owners in self._fields:
            begins, wide = offsets + first[owners], values.astype(np.uint64)
            for bit in range(int(widths.max(initial=0))):
                here = widths > bit
                shift = (widths[here] - 1 - bit).astype(np.uint64)
                bits[begins[here] + bit] = (wide[here] >> shift) & np.uint64(1)
        for offsets, owners in self._ones:
            bits[offsets + first[owners]] = 1
        data, ends = np.packbits(bits).tobytes(), np.cumsum(sizes)
        return [data[e - s : e] for s, e in zip(sizes.tolist(), ends.tolist(), strict=True)]


class BitReader:
    """Reads sections in the order in which they were put.

    Args:
      records: the bytes of each record.
      where: what they are, for messages.

    Raises:
      LimbeckError: on reading: a record is too short; at `finish`: it is too long.
    """

    def __init__(self, records: list[bytes], *, where: str) -> None:
        sizes = np.array([len(record) for record in records], np.int64)
        self._where = where
        self._sizes = sizes
        self._first = (np.cumsum(sizes) - sizes) * 8
        self._bytes = np.frombuffer(b"".join(records) + bytes(8), np.uint8)
        self._cursor = _Cursor(len(records))

    def get(self, widths: np.ndarray | int, owners: np.ndarray) -> np.ndarray:
        """(F,) int64 values of a section of so many bits each."""
        widths = np.broadcast_to(np.asarray(widths, np.int64), owners.shape)
        begins = self._take(widths, owners)
        window = np.zeros(len(owners), np.uint64)
        for byte in range(5):  # 32 bits from any bit of a byte on
            window = (window << np.uint64(8)) | self._bytes[(begins >> 3) + byte]
        window >>= (40 - (begins & 7) - widths).astype(np.uint64)
        return (window & ((np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1))).astype(
            np.int64
        )

    def get_ones(self, lengths: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(X,) the run that each one of a section is in, and its bit there."""
        begins = self._take(lengths, owners)
        fields = np.repeat(np.arange(len(lengths)), lengths)
        places = np.arange(len(fields)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = begins[fields] + places
        ones = (self._bytes[at >> 3] >> (7 - (at & 7)).astype(np.uint8)) & 1
        found = np.flatnonzero(ones)
        return fields[found], places[found]

    def finish(self) -> None:
        """Refuses records with bytes left over."""
        self._refuse(self._sizes != -(-self._cursor.used // 8))

    def _refuse(self, wrong: np.ndarray) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            raise LimbeckError(
                f"{self._where}: record {row} of those read has {self._sizes[row]} bytes, but its "
                f"counts need {-(-self._cursor.used[row] // 8)}; was it written with other options?"
            )

    def _take(self, widths: np.ndarray, owners: np.ndarray) -> np.ndarray:
        offsets = self._cursor.take(widths, owners)
        self._refuse(self._cursor.used > self._sizes * 8)
        return offsets + self._first[owners]
