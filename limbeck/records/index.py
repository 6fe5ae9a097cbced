"""The index of a shard: who its rows are, without reading the data.

    8 bytes   magic "LIMBKIDX"
    u32       version
    u32       bytes of the header
    header    canonical JSON: columns, records, and name, size and SHA-256 of the data it belongs to
    columns   arrays, little-endian, each starting at a multiple of 64, zeros between
    u32       CRC32C of everything before

Columns: `key` u8 (n, 16); `crc` u32 (n,), the payload's CRC as the record stores it: a record that
is whole but not the one written in that row (swapped, repeated, from another run) is recognised by
it on every read; `length` u32 (n,), tokens, where given; `offset` u64 (n + 1,), of variable
layouts; `present` u64 (w,) and `rank` u32 (w,), of families that label some of the parent's rows:
a bitmap over these rows, and the set bits before each word. Their header also has
`parent_records`.

The header's SHA-256 of the data ties the index to the manifest: an index of another run with the
same name does not fit, at the cost of one CRC and no SHA-256 when a dataset is opened.
"""

import dataclasses
import math
import mmap
import os
import struct
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.canonical import canonical, parse
from limbeck.records.errors import FIX
from limbeck.records.selection import Selection, num_words
from limbeck.records.shard import ShardSummary

__all__ = ["Index", "encode_index", "read_index"]

MAGIC = b"LIMBKIDX"
VERSION = 1
PREFIX = struct.Struct("<8sII")
ALIGNMENT = 64
CRC_BYTES = 4
CHUNK_BYTES = 1 << 20
DTYPES = {
    "key": "u1",
    "crc": "<u4",
    "length": "<u4",
    "offset": "<u8",
    "present": "<u8",
    "rank": "<u4",
}

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """The columns of one shard, mapped from its index file."""

    keys: npt.NDArray[np.uint8]
    """(n, 16) keys."""
    crcs: npt.NDArray[np.uint32]
    """(n,) masked payload CRCs."""
    lengths: npt.NDArray[np.uint32] | None
    """(n,) tokens of each row; None where the writer was not told."""
    offsets: npt.NDArray[np.uint64] | None
    """(n + 1,) byte offsets of the records; None for a fixed stride."""
    selection: Selection | None = None
    """Which rows of the parent's shard these are; None where they are all."""


def encode_index(
    columns: Mapping[str, Array],
    *,
    name: str,
    size: int,
    sha256: str,
    selection: Selection | None = None,
) -> bytes:
    """Returns the bytes of an index file.

    Args:
      columns: `key` and `crc`, and where they apply `length` and `offset`.
      name: file name of the data.
      size: bytes of the data.
      sha256: of the data, hex.
      selection: which rows of the parent's shard they are; None where they are all.
    """
    parent_records = None
    if selection is not None:
        columns = {**columns, "present": selection.present, "rank": selection.ranks}
        parent_records = selection.records
    shapes = {column: columns[column].shape for column in DTYPES if column in columns}
    header = canonical(
        _header(shapes, name=name, size=size, sha256=sha256, parent_records=parent_records)
    )
    data = bytearray(PREFIX.pack(MAGIC, VERSION, len(header)) + header)
    for column, dtype in DTYPES.items():
        if column in columns:
            data += bytes(-len(data) % ALIGNMENT)
            data += np.ascontiguousarray(columns[column], dtype).tobytes()
    return bytes(data) + struct.pack("<I", google_crc32c.value(bytes(data)))


def read_index(path: str, summary: ShardSummary, *, is_variable: bool, stride: int) -> Index:
    """Opens an index, checks its CRC and that it belongs to the summary's data.

    Args:
      path: the index file.
      summary: the shard's line of the manifest.
      is_variable: whether the layout needs offsets.
      stride: bytes of a record, where they are fixed.

    Raises:
      LimbeckError: naming the file, what was expected and what was found.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != summary.index_bytes:
            raise LimbeckError(f"{path}: expected {summary.index_bytes} bytes, found {size}; {FIX}")
        _check_crc(file.fileno(), size, path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    columns = _map_columns(mapped, summary, path, is_variable=is_variable)
    selection = None
    if "present" in columns:
        records = _parent_records(parse(_header_bytes(mapped), path)) or 0
        selection = Selection(records=records, present=columns["present"], ranks=columns["rank"])
        if problem := selection.problem(summary.records):
            raise LimbeckError(f"{path}: {problem}; {FIX}")
    index = Index(
        keys=columns["key"],
        crcs=columns["crc"],
        lengths=columns.get("length"),
        offsets=columns.get("offset"),
        selection=selection,
    )
    _check_extent(index, summary, path, stride=stride)
    return index


def _header(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    name: str,
    size: int,
    sha256: str,
    parent_records: int | None,
) -> dict[str, Any]:
    partial = {} if parent_records is None else {"parent_records": parent_records}
    return {
        **partial,
        "columns": [
            {"dtype": np.dtype(DTYPES[column]).name, "name": column, "shape": list(shape)}
            for column, shape in shapes.items()
        ],
        "data": {"bytes": size, "name": name, "sha256": sha256},
        "records": shapes["key"][0],
    }


def _check_crc(descriptor: int, size: int, path: str) -> None:
    if size < PREFIX.size + CRC_BYTES:
        raise LimbeckError(f"{path}: {size} bytes are too few for an index; {FIX}")
    crc, at, end = 0, 0, size - CRC_BYTES
    while at < end:
        chunk = os.pread(descriptor, min(CHUNK_BYTES, end - at), at)
        if not chunk:
            raise LimbeckError(f"{path}: ends at byte {at} of {size}; {FIX}")
        crc = google_crc32c.extend(crc, chunk)
        at += len(chunk)
    stored = int.from_bytes(os.pread(descriptor, CRC_BYTES, end), "little")
    if crc != stored:
        raise LimbeckError(f"{path}: CRC is {crc:08x}, the file says {stored:08x}; {FIX}")


def _map_columns(
    mapped: mmap.mmap, summary: ShardSummary, path: str, *, is_variable: bool
) -> dict[str, Array]:
    magic, version, header_bytes = PREFIX.unpack_from(mapped)
    if magic != MAGIC:
        raise LimbeckError(f"{path}: starts with {magic!r}, not {MAGIC!r}: not an index; {FIX}")
    if version != VERSION:
        raise LimbeckError(f"{path}: index version {version}; this program reads {VERSION}")
    at = PREFIX.size + header_bytes
    found = parse(_header_bytes(mapped), path)
    names = {"key", "crc", "offset"} if is_variable else {"key", "crc"}
    if _has_lengths(found):
        names.add("length")
    records = summary.records
    shapes = {"key": (records, 16), "crc": (records,), "length": (records,)}
    shapes["offset"] = (records + 1,)
    if (parent_records := _parent_records(found)) is not None:
        names |= {"present", "rank"}
        shapes["present"] = shapes["rank"] = (num_words(parent_records),)
    expected = _header(
        {column: shapes[column] for column in DTYPES if column in names},
        name=summary.name,
        size=summary.bytes,
        sha256=summary.sha256,
        parent_records=parent_records,
    )
    if found != expected:
        raise LimbeckError(
            f"{path}: the index of other data, as of an older run: expected {expected!r}, "
            f"found {found!r}; {FIX}"
        )
    starts = {}
    for column in expected["columns"]:
        at += -at % ALIGNMENT
        starts[column["name"]] = at
        at += math.prod(column["shape"]) * np.dtype(DTYPES[column["name"]]).itemsize
    if at + CRC_BYTES != len(mapped):
        raise LimbeckError(f"{path}: expected {at + CRC_BYTES} bytes, found {len(mapped)}; {FIX}")
    return {
        name: np.ndarray(shapes[name], DTYPES[name], buffer=mapped, offset=start)
        for name, start in starts.items()
    }


def _header_bytes(mapped: mmap.mmap) -> bytes:
    size = PREFIX.unpack_from(mapped)[2]
    return mapped[PREFIX.size : PREFIX.size + size]


def _parent_records(header: Any) -> int | None:
    value = header.get("parent_records") if isinstance(header, dict) else None
    return value if type(value) is int and value >= 0 else None


def _has_lengths(header: Any) -> bool:
    columns = header.get("columns") if isinstance(header, dict) else None
    names = [c.get("name") for c in columns or () if isinstance(c, dict)]
    return "length" in names


def _check_extent(index: Index, summary: ShardSummary, path: str, *, stride: int) -> None:
    """Checks that the records fill the data file from its first byte to its last."""
    if index.offsets is None:
        if summary.records * stride != summary.bytes:
            raise LimbeckError(
                f"{path}: {summary.records} records of {stride} bytes do not make the data's "
                f"{summary.bytes}; {FIX}"
            )
        return
    ends = int(index.offsets[0]), int(index.offsets[-1])
    if ends != (0, summary.bytes):
        raise LimbeckError(
            f"{path}: offsets run from {ends[0]} to {ends[1]}; expected 0 to {summary.bytes}; {FIX}"
        )
    falling = np.flatnonzero(index.offsets[1:] <= index.offsets[:-1])
    if falling.size:
        row = int(falling[0])
        raise LimbeckError(
            f"{path}: row {row}: offset {index.offsets[row]} is followed by "
            f"{index.offsets[row + 1]}; offsets must ascend; {FIX}"
        )
