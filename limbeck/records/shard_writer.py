"""Writes the three files of one shard from its rows, whatever order they come in."""

# N rows of the shard

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_file, atomic_write
from limbeck.records.index import encode_index
from limbeck.records.job import Job
from limbeck.records.keys import key_rows, row_order, shards_of, split_key
from limbeck.records.layout import Layout
from limbeck.records.rows import FixedRows, encode_record, field_bytes, stack_records
from limbeck.records.shard import NO_KEY, ShardSummary, key_xor, shard_files
from limbeck.records.tfrecord import FOOTER_BYTES, frame

__all__ = ["Rows", "write_shard_files"]

Array = npt.NDArray[Any]
# Fixed layouts: field -> array (N, *shape), or one dict a record; variable ones: dicts only.
Rows = Mapping[str, Array] | Sequence[Mapping[str, Any]]
CHUNK_BYTES = 1 << 25  # encoded at a time, so that a shard needs no second copy in memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some consecutive records of a shard, framed."""

    data: Any
    """A buffer of their bytes."""
    crcs: list[int]
    """Their payload CRCs."""
    sizes: list[int]
    """Their framed lengths in bytes; empty for a fixed stride."""


def write_shard_files(
    directory: str,
    job: Job,
    index: int,
    rows: Rows,
    *,
    lengths: npt.ArrayLike | None,
    labelled_positions: int,
) -> ShardSummary:
    """Writes data, index and JSON of shard `index`; see `DatasetWriter.write_shard`."""
    table = _table(job.layout, rows)
    keys = table["key"] if isinstance(table, dict) else _record_keys(job.layout, table)
    order = row_order(keys)
    keys = keys[order]
    _check_keys(job, index, keys)
    columns: dict[str, Array] = {"key": keys}
    if lengths is not None:
        columns["length"] = _length_column(lengths, len(keys))[order]
    data_name, index_name, json_name = shard_files(job.name, index, job.num_shards)
    data_path = os.path.join(directory, data_name)
    size, sha256 = _write_data(data_path, job.layout, table, order, columns)
    index_bytes = encode_index(columns, name=data_name, size=size, sha256=sha256)
    atomic_write(os.path.join(directory, index_name), index_bytes)
    summary = ShardSummary(
        name=data_name,
        records=len(keys),
        bytes=size,
        sha256=sha256,
        first_key=keys[0].tobytes().hex() if len(keys) else NO_KEY,
        last_key=keys[-1].tobytes().hex() if len(keys) else NO_KEY,
        key_xor=key_xor(keys),
        tokens=int(columns["length"].sum(dtype=np.int64)) if lengths is not None else 0,
        labelled_positions=int(labelled_positions),
        index_bytes=len(index_bytes),
        index_sha256=hashlib.sha256(index_bytes).hexdigest(),
    )
    atomic_write(os.path.join(directory, json_name), job.shard_bytes(summary))
    return summary


def _write_data(
    path: str, layout: Layout, table: Any, order: Array, columns: dict[str, Array]
) -> tuple[int, str]:
    """Writes the records in `order`, adds the columns `crc` and `offset`; returns size, SHA-256."""
    chunks = (
        _fixed_chunks(layout, table, order)
        if isinstance(table, dict)
        else _variable_chunks(layout, table, order)
    )
    digest, crcs, sizes = hashlib.sha256(), [], [0]
    with atomic_file(path) as file:
        for chunk in chunks:
            digest.update(chunk.data)
            file.write(chunk.data)
            crcs += chunk.crcs
            sizes += chunk.sizes
        size = file.tell()
    columns["crc"] = np.array(crcs, np.uint32)
    if not layout.stride_is_fixed:
        columns["offset"] = np.cumsum(np.array(sizes, np.uint64), dtype=np.uint64)
    return size, digest.hexdigest()


def _fixed_chunks(layout: Layout, table: Mapping[str, Array], order: Array) -> Iterator[Chunk]:
    codec = FixedRows(layout)
    step = max(1, CHUNK_BYTES // codec.stride)
    for start in range(0, len(order), step):
        picked = order[start : start + step]
        data, crcs = codec.encode({name: values[picked] for name, values in table.items()})
        yield Chunk(data=data, crcs=crcs.tolist(), sizes=[])


def _variable_chunks(
    layout: Layout, records: Sequence[Mapping[str, Any]], order: Array
) -> Iterator[Chunk]:
    for row in order.tolist():
        record = frame(encode_record(layout, records[row]))
        crc = int.from_bytes(record[-FOOTER_BYTES:], "little")
        yield Chunk(data=record, crcs=[crc], sizes=[len(record)])


def _table(layout: Layout, rows: Rows) -> dict[str, Array] | Sequence[Mapping[str, Any]]:
    """Returns fixed rows as checked arrays (N, *shape), variable ones as they are."""
    if not layout.stride_is_fixed:
        if isinstance(rows, Mapping):
            raise ValueError("rows: the layout has variable fields; give one dict a record")
        return rows
    if not isinstance(rows, Mapping):
        return stack_records(layout, rows)
    if rows.keys() != set(layout.names):
        raise ValueError(
            f"rows have the fields {', '.join(sorted(rows))}; expected {', '.join(layout.names)}"
        )
    table = {name: np.asarray(values) for name, values in rows.items()}
    num_rows = len(table["key"]) if table["key"].ndim else 0
    for field in layout.fields:
        found, dtype = table[field.name], field.numpy_dtype
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


def _check_keys(job: Job, index: int, keys: npt.NDArray[np.uint8]) -> None:
    """Checks that sorted keys (N, 16) differ and belong to shard `index`."""
    if not 0 <= index < job.num_shards:
        raise ValueError(f"shard {index}: there are {job.num_shards} shards, from 0")
    where = f"{job.name}, shard {index}"
    twice = np.flatnonzero((keys[1:] == keys[:-1]).all(1))
    if twice.size:
        key = keys[twice[0]]
        raise LimbeckError(
            f"{where}: {twice.size} keys occur twice, first {key.tobytes().hex()} "
            f"({split_key(key)}); every record needs a key of its own"
        )
    shards = shards_of(keys, job.num_shards)
    wrong = np.flatnonzero(shards != index)
    if wrong.size:
        raise LimbeckError(
            f"{where}: key {keys[wrong[0]].tobytes().hex()} ({split_key(keys[wrong[0]])}) belongs "
            f"to shard {shards[wrong[0]]} of {job.num_shards}; place rows with shards_of"
        )


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
