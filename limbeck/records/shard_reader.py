"""Reads the records of one shard by row, and believes none of them before its checks.

Each record read is compared with what the index says of its row: framing, CRC of the payload, the
CRC that was there when the row was written, key. So besides damage it notices a whole record in the
wrong place: swapped, repeated, or from another run's shard of the same name.
"""

# n rows asked for

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.errors import FIX, CorruptRecord
from limbeck.records.index import Index, read_index
from limbeck.records.layout import Layout
from limbeck.records.rows import FixedRows, decode_record
from limbeck.records.shard import ShardSummary
from limbeck.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, header, masked_crc

__all__ = ["ShardReader"]

Uint8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

MERGE_GAP_BYTES = 1 << 14  # reading 16 KiB too much costs less than another call
MAX_BUFFERS = 512  # of one call; IOV_MAX is 1,024, and a gap needs a buffer too
MAX_READ_BYTES = 1 << 26  # Linux reads at most 2 GiB at once


class ShardReader:
    """One shard of a finished dataset."""

    def __init__(
        self,
        directory: str,
        summary: ShardSummary,
        layout: Layout,
        *,
        codec: FixedRows | None,
        first_row: int,
    ) -> None:
        """Opens and checks the index; the data file is opened at the first read.

        Args:
          directory: of the dataset.
          summary: the shard's line of the manifest.
          layout: of the dataset.
          codec: of the layout, shared by all shards; None where the stride is not fixed.
          first_row: number, in the dataset, of the shard's first row.
        """
        self.path = os.path.join(directory, summary.name)
        self.summary = summary
        self.layout = layout
        self.first_row = first_row
        self.codec = codec
        self.index: Index = read_index(
            os.path.join(directory, summary.index_name),
            summary,
            is_variable=self.codec is None,
            stride=self.codec.stride if self.codec else 0,
        )
        self._descriptor = -1
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the data file."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def extent(self, row: int) -> tuple[int, int]:
        """Returns the byte offset and the framed length of a row of the shard."""
        if self.codec is not None:
            return row * self.codec.stride, self.codec.stride
        offsets = self.index.offsets
        assert offsets is not None  # read_index has checked
        return int(offsets[row]), int(offsets[row + 1] - offsets[row])

    def extents(self, rows: Int64) -> tuple[Int64, Int64]:
        """Returns the byte offsets (n,) and framed lengths (n,) of rows (n,) of the shard."""
        if self.codec is not None:
            return rows * self.codec.stride, np.full(len(rows), self.codec.stride, np.int64)
        offsets = self.index.offsets
        assert offsets is not None
        begins = offsets[rows].astype(np.int64)
        return begins, offsets[rows + 1].astype(np.int64) - begins

    def read_into(self, rows: Int64, out: Uint8) -> None:
        """Reads framed records of any layout, unchecked.

        Args:
          rows: (n,) ascending different rows of the shard.
          out: uint8, as many bytes as the records have together: they come one behind the other.
        """
        offsets, sizes = self.extents(rows)
        gaps = offsets[1:] - (offsets + sizes)[:-1]
        buffer = memoryview(out)  # type: ignore[arg-type]
        try:
            if (gaps > MERGE_GAP_BYTES).all():
                self._read_singly(offsets, sizes, buffer)
            else:
                starts = np.concatenate(([0], np.flatnonzero(gaps) + 1))
                self._read_runs(offsets[starts], np.add.reduceat(sizes, starts), buffer)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from error

    def _read_singly(self, offsets: Int64, sizes: Int64, buffer: memoryview) -> None:
        """A call a record: what a shuffled batch needs, and the loop that decides its speed."""
        descriptor, preadv, at = self._file(), os.preadv, 0
        for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
            target = [buffer[at : at + size]]
            if preadv(descriptor, target, offset) != size:
                self._read(target, offset, offset + size)
            at += size

    def _read_runs(self, offsets: Int64, sizes: Int64, buffer: memoryview) -> None:
        """A call for several runs of neighbours (r,), with the gaps between them if they are small.

        Runs stand one behind the other in `buffer`.
        """
        group: list[Any] = []
        begin = end = at = 0
        for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
            full = len(group) >= MAX_BUFFERS or end - begin + size > MAX_READ_BYTES
            if group and (full or offset - end > MERGE_GAP_BYTES):
                self._read(group, begin, end)
                group = []
            if not group:
                begin = offset
            elif offset > end:
                group.append(bytearray(offset - end))
            group.append(buffer[at : at + size])
            at, end = at + size, offset + size
        self._read(group, begin, end)

    def check(self, rows: Int64, data: Uint8) -> None:
        """Checks framed records (n, stride) of `rows` (n,) against the index.

        Raises:
          CorruptRecord: naming the first bad one.
        """
        assert self.codec is not None
        bad = self.codec.wrong_rows(data, crcs=self.index.crcs[rows], keys=self.index.keys[rows])
        for at in np.flatnonzero(bad):
            self.decode(int(rows[at]), data[at].tobytes())

    def read_record(self, row: int) -> dict[str, Any]:
        """Returns one checked record of any layout; see `rows.decode_record`."""
        offset, size = self.extent(row)
        data = bytearray(size)
        self._read([data], offset, offset + size)
        return self.decode(row, bytes(data))

    def read_span(self, first: int, last: int) -> bytes:
        """Returns the bytes of rows [first, last), unchecked."""
        begin = self.extent(first)[0]
        offset, size = self.extent(last - 1)
        data = bytearray(offset + size - begin)
        self._read([data], begin, offset + size)
        return bytes(data)

    def span_end(self, first: int, max_bytes: int) -> int:
        """Returns the end of the longest span from row `first` that fits, of one row at least."""
        total = self.summary.records
        if self.codec is not None:
            return min(total, first + max(1, max_bytes // self.codec.stride))
        offsets = self.index.offsets
        assert offsets is not None
        limit = int(offsets[first]) + max_bytes
        return max(first + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)

    def decode_span(self, first: int, last: int, span: bytes) -> Iterator[dict[str, Any]]:
        """Yields the checked records of rows [first, last), whose bytes are `span`."""
        begin = self.extent(first)[0]
        for row in range(first, last):
            offset, size = self.extent(row)
            yield self.decode(row, span[offset - begin : offset - begin + size])

    def decode(self, row: int, record: bytes) -> dict[str, Any]:
        """Checks and decodes the framed bytes of a row."""
        payload = self.payload(row, record)
        try:
            values = decode_record(self.layout, payload)
        except LimbeckError as error:
            raise self.error(row, str(error)) from error
        expected, found = self.index.keys[row].tobytes(), values["key"].tobytes()
        if found != expected:
            raise self.error(row, f"expected key {expected.hex()}, found {found.hex()}")
        return values

    def payload(self, row: int, record: bytes) -> bytes:
        """Returns the payload of a row's framed bytes after checking them against the index.

        Raises:
          CorruptRecord: naming file, row, offset, what was expected and found.
        """
        length = len(record) - HEADER_BYTES - FOOTER_BYTES
        payload, footer = record[HEADER_BYTES:-FOOTER_BYTES], record[-FOOTER_BYTES:]
        found = int.from_bytes(record[:8], "little")
        if found != length:
            raise self.error(row, f"expected length {length}, found {found}")
        if record[:HEADER_BYTES] != header(length):
            raise self.error(
                row, f"expected length CRC {header(length)[8:].hex()}, found {record[8:12].hex()}"
            )
        crc, stored = masked_crc(payload), int.from_bytes(footer, "little")
        expected = int(self.index.crcs[row])
        if crc != stored:
            raise self.error(row, f"expected payload CRC {stored:08x}, found {crc:08x}: damaged")
        if crc != expected:
            raise self.error(
                row,
                f"expected payload CRC {expected:08x}, found {crc:08x} of a whole record: not the "
                "one written here (swapped, repeated, changed, or the shard of another run)",
            )
        return payload

    def error(self, row: int, reason: str) -> CorruptRecord:
        """Returns the error for a row of the shard."""
        offset = self.extent(row)[0]
        return CorruptRecord(
            f"{self.path}: row {row} of the shard ({self.first_row + row} of the dataset), byte "
            f"{offset}: {reason}; {FIX}",
            path=self.path,
            row=self.first_row + row,
            offset=offset,
            reason=reason,
        )

    def _read(self, buffers: list[Any], begin: int, end: int) -> None:
        """Fills `buffers` with the bytes [begin, end) of the file."""
        try:
            done = os.preadv(self._file(), buffers, begin)
            while begin + done < end:  # a signal, or the end of the file
                done += self._read_rest(buffers, begin, done)
        except OSError as error:  # a failing disk does not say which file it was
            raise OSError(error.errno, error.strerror, self.path) from error

    def _read_rest(self, buffers: list[Any], begin: int, done: int) -> int:
        """Reads on behind `done` bytes of the buffers; returns how many more came."""
        rest, skip = [], done
        for buffer in buffers:
            if skip < len(buffer):
                rest.append(memoryview(buffer)[skip:])
            skip = max(0, skip - len(buffer))
        more = os.preadv(self._file(), rest, begin + done)
        if not more:
            row, size = self._row_at(begin + done), os.fstat(self._file()).st_size
            raise self.error(
                row, f"expected a file of {self.summary.bytes} bytes, found its end at {size}"
            )
        return more

    def _row_at(self, offset: int) -> int:
        if self.codec is not None:
            return offset // self.codec.stride
        assert self.index.offsets is not None
        return int(np.searchsorted(self.index.offsets, offset, side="right")) - 1

    def _file(self) -> int:
        if self._descriptor < 0:
            with self._lock:
                if self._descriptor < 0:
                    self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor
