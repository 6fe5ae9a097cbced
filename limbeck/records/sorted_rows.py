"""The rows of a shard in order, encoded: of one batch, or merged from many.

A shard that is larger than memory comes in batches. Each is sorted and encoded for itself and put
aside in a file without a name; then all of them are merged in one pass. A record's bytes depend on
nothing but its row, and its place on nothing but its key, so the shard is the same however its rows
were cut into batches. What grows with the shard is its index (key, CRC, length, offset), not more.
"""

# N rows, R sorted runs

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.keys import key_rows, row_order
from limbeck.records.layout import Layout
from limbeck.records.packed_rows import PackedRows
from limbeck.records.rows import FixedRows, encode_record, field_bytes, stack_records
from limbeck.records.tfrecord import FOOTER_BYTES, frame

__all__ = ["Chunk", "RowBatch", "Rows", "SortedRows", "SortedRuns", "sort_batch"]

Array = npt.NDArray[Any]
# One dict a record; or field -> array (N, *shape), where `bytes` fields of shape () are object
# arrays (N,) of bytes. Layouts with texts or lists: dicts only.
Rows = Mapping[str, Array] | Sequence[Mapping[str, Any]]
CHUNK_BYTES = 1 << 25  # encoded at a time, so that a batch needs no second copy in memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowBatch:
    """Some rows of a shard, in any order."""

    rows: Rows
    """Columns of a layout without texts and lists, or one dict a record."""
    lengths: npt.ArrayLike | None = None
    """(N,) tokens of each row; None leaves the column out of the index."""
    labelled_positions: int = 0
    """Positions that carry a label, over these rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some consecutive records, framed."""

    data: Any
    """A buffer of their bytes."""
    crcs: npt.NDArray[np.uint32]
    """Their payload CRCs."""
    sizes: npt.NDArray[np.uint64]
    """Their framed lengths in bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SortedRows:
    """Rows by (order_hash, key), and their bytes."""

    keys: npt.NDArray[np.uint8]
    """(N, 16) keys."""
    lengths: npt.NDArray[np.uint32] | None
    """(N,) tokens of each row; None where they were not given."""
    labelled_positions: int
    """Positions that carry a label."""
    chunks: Iterator[Chunk]
    """All records, in order; to be gone through once."""


def sort_batch(layout: Layout, batch: RowBatch) -> SortedRows:
    """Sorts a batch; nothing is encoded before its chunks are asked for.

    Raises:
      ValueError: a field is missing, unknown, or of another dtype or shape.
    """
    table = _table(layout, batch.rows)
    is_fixed = layout.stride_is_fixed and isinstance(table, dict)
    keys = table["key"] if isinstance(table, dict) else _record_keys(layout, table)
    order = row_order(keys)
    lengths = batch.lengths
    return SortedRows(
        keys=keys[order],
        lengths=None if lengths is None else _length_column(lengths, len(keys))[order],
        labelled_positions=int(batch.labelled_positions),
        chunks=_fixed_chunks(layout, table, order)
        if is_fixed and isinstance(table, dict)
        else _variable_chunks(layout, table, order),
    )


class SortedRuns:
    """Batches that were put aside in a file, each in order, to be merged."""

    def __init__(self, layout: Layout, file: BinaryIO) -> None:
        """Takes an empty file, open for reading and writing."""
        self._stride = FixedRows(layout).stride if layout.stride_is_fixed else None
        self._file = file
        self._starts: list[int] = []
        self._runs: list[SortedRows] = []
        self._crcs: list[npt.NDArray[np.uint32]] = []
        self._sizes: list[npt.NDArray[np.uint64]] = []

    def add(self, rows: SortedRows) -> None:
        """Encodes a batch into the file."""
        self._starts.append(self._file.tell())
        crcs, sizes = [], []
        for chunk in rows.chunks:
            self._file.write(chunk.data)
            crcs.append(chunk.crcs)
            sizes.append(chunk.sizes)
        self._runs.append(dataclasses.replace(rows, chunks=iter(())))
        self._crcs.append(np.concatenate([np.zeros(0, np.uint32), *crcs]))
        self._sizes.append(np.concatenate([np.zeros(0, np.uint64), *sizes]))

    def merge(self) -> SortedRows:
        """Returns all rows in order; their chunks are read from the file."""
        self._file.flush()
        keys = np.concatenate([run.keys for run in self._runs])
        order = row_order(keys)
        lengths = [run.lengths for run in self._runs if run.lengths is not None]
        if lengths and len(lengths) != len(self._runs):
            raise ValueError("lengths are given for some batches of a shard and not for others")
        return SortedRows(
            keys=keys[order],
            lengths=np.concatenate(lengths)[order] if lengths else None,
            labelled_positions=sum(run.labelled_positions for run in self._runs),
            chunks=self._merged(order),
        )

    def _merged(self, order: npt.NDArray[np.int64]) -> Iterator[Chunk]:
        crcs = np.concatenate(self._crcs)[order]
        sizes = np.concatenate(self._sizes)[order]
        counts = [len(run.keys) for run in self._runs]
        run_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        ends = np.cumsum(sizes, dtype=np.uint64)
        places = list(self._starts)  # where the next row of each run begins
        begin = 0
        while begin < len(order):
            limit = (int(ends[begin - 1]) if begin else 0) + CHUNK_BYTES
            stop = max(begin + 1, int(np.searchsorted(ends, np.uint64(limit), side="right")))
            here = slice(begin, stop)
            data = self._interleave(run_of[here], sizes[here], places)
            yield Chunk(data=data, crcs=crcs[here], sizes=sizes[here])
            begin = stop

    def _interleave(
        self, run_of: npt.NDArray[np.int32], sizes: npt.NDArray[np.uint64], places: list[int]
    ) -> Any:
        """Returns the next records of the runs in merged order; moves `places` behind them.

        Args:
          run_of: (N,) the run that each record comes from.
          sizes: (N,) bytes of each record.
          places: (R,) where the next record of each run begins.
        """
        records: list[Any] = [b""] * len(run_of)
        fixed = None
        if self._stride is not None:
            fixed = np.empty((len(run_of), self._stride), np.uint8)
        for run in np.unique(run_of).tolist():
            rows = np.flatnonzero(run_of == run)
            data = self._read(places[run], int(sizes[rows].sum(dtype=np.uint64)))
            places[run] += len(data)
            if fixed is not None:
                fixed[rows] = np.frombuffer(data, np.uint8).reshape(len(rows), -1)
                continue
            at = 0
            for row, size in zip(rows.tolist(), sizes[rows].tolist(), strict=True):
                records[row] = data[at : at + size]
                at += size
        return b"".join(records) if fixed is None else fixed

    def _read(self, start: int, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, start)
        if len(data) != size:
            raise LimbeckError(
                f"{self._file.name}: ends {size - len(data)} bytes early; is the disk failing?"
            )
        return data


def _fixed_chunks(layout: Layout, table: Mapping[str, Array], order: Array) -> Iterator[Chunk]:
    codec = FixedRows(layout)
    step = max(1, CHUNK_BYTES // codec.stride)
    for start in range(0, len(order), step):
        picked = order[start : start + step]
        data, crcs = codec.encode({name: values[picked] for name, values in table.items()})
        yield Chunk(data=data, crcs=crcs, sizes=np.full(len(picked), codec.stride, np.uint64))


def _variable_chunks(
    layout: Layout, table: Mapping[str, Array] | Sequence[Mapping[str, Any]], order: Array
) -> Iterator[Chunk]:
    framed: list[bytes] = []
    size = 0
    for row in order.tolist():
        record = (
            {name: values[row] for name, values in table.items()}
            if isinstance(table, Mapping)
            else table[row]
        )
        framed.append(frame(encode_record(layout, record)))
        size += len(framed[-1])
        if size >= CHUNK_BYTES:
            yield _variable_chunk(framed)
            framed, size = [], 0
    if framed:
        yield _variable_chunk(framed)


def _variable_chunk(framed: Sequence[bytes]) -> Chunk:
    footers = b"".join(record[-FOOTER_BYTES:] for record in framed)
    return Chunk(
        data=b"".join(framed),
        crcs=np.frombuffer(footers, "<u4").astype(np.uint32),
        sizes=np.array([len(record) for record in framed], np.uint64),
    )


def _table(layout: Layout, rows: Rows) -> dict[str, Array] | Sequence[Mapping[str, Any]]:
    """Returns columns as checked arrays (N, *shape), variable records as they are."""
    if not isinstance(rows, Mapping):
        return stack_records(layout, rows) if layout.stride_is_fixed else rows
    if not PackedRows.fits(layout):
        raise ValueError("rows: the layout has texts or lists; give one dict a record")
    if rows.keys() != set(layout.names):
        raise ValueError(
            f"rows have the fields {', '.join(sorted(rows))}; expected {', '.join(layout.names)}"
        )
    table = {name: np.asarray(values) for name, values in rows.items()}
    num_rows = len(table["key"]) if table["key"].ndim else 0
    for field in layout.fields:
        found, dtype = table[field.name], np.dtype(object)
        if field.size_is_fixed:
            dtype = field.numpy_dtype
        if found.dtype != dtype or found.shape != (num_rows, *field.shape):
            raise ValueError(
                f"field {field.name}: expected {dtype.name} {(num_rows, *field.shape)}, "
                f"got {found.dtype} {found.shape}"
            )
    return table


def _record_keys(layout: Layout, records: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.uint8]:
    for number, record in enumerate(records):
        if "key" not in record:
            raise ValueError(f"record {number} has no key; it has {', '.join(sorted(record))}")
    field = layout.field("key")
    return key_rows([field_bytes(field, record["key"])[0] for record in records])


def _length_column(lengths: npt.ArrayLike, num_rows: int) -> npt.NDArray[np.uint32]:
    values = np.asarray(lengths)
    # NumPy makes an empty list float64.
    if values.shape != (num_rows,) or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(
            f"lengths: expected integers ({num_rows},), got {values.dtype} {values.shape}"
        )
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < 1 << 32:
        raise ValueError(f"lengths: {values.min()} to {values.max()} do not fit 32 bits")
    return values.astype(np.uint32)
