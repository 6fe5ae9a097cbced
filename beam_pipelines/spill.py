"""Rows on their way to the sink, put aside on a disk that all workers see.

Beam's local runner keeps what is grouped in the memory of the driver. So a step writes its rows
into files of its own, sorted by where they go, and hands on only where they lie. A file is written
by one attempt at a bundle and named for nobody else: what a repeated attempt leaves is never read.
"""

import io
import json
import os
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import google_crc32c
from apache_beam.transforms.window import GlobalWindows

from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_file

__all__ = ["Extent", "Place", "Spill", "read_extent"]

Place = tuple[int, int]
"""(number of the target, shard)."""

_HEAD = struct.Struct("<cQ")  # kind of a block, and its bytes
_BYTES, _JSON = b"B", b"J"
_HEX = "\0hex"  # the only key of what stands for bytes in JSON

_FILE_BYTES = 32 << 20  # rows that a step gathers before it writes them


@dataclass(frozen=True)
class Extent:
    """Blocks of one place, in a part of a file."""

    path: str
    """The file."""
    start: int
    """First byte."""
    size: int
    """Bytes."""
    crc: int
    """CRC32C of those bytes."""


class Spill(beam.DoFn):
    """(place, block) -> (place, extent); the blocks go into files of a directory."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory
        self._buffers: dict[Place, io.BytesIO] = {}
        self._size = 0

    def start_bundle(self) -> None:
        """Forgets what a failed attempt has left."""
        self._buffers, self._size = {}, 0

    def process(self, element: tuple[Place, Any]) -> Iterator[tuple[Place, Extent]]:
        """Gathers one block; writes a file when there are enough."""
        place, block = element
        data = _encode(block)
        self._buffers.setdefault(place, io.BytesIO()).write(data)
        self._size += len(data)
        if self._size >= _FILE_BYTES:
            yield from self._write()

    def finish_bundle(self) -> Iterator[Any]:
        """Writes the rest."""
        for element in self._write():
            yield GlobalWindows.windowed_value(element)

    def _write(self) -> Iterator[tuple[Place, Extent]]:
        if not self._buffers:
            return
        path = os.path.join(self._directory, f"{os.getpid()}-{secrets.token_hex(8)}")
        extents = []
        with atomic_file(path) as file:
            for place in sorted(self._buffers):
                data = self._buffers.pop(place).getvalue()
                crc = google_crc32c.value(data)
                extents.append((place, Extent(path, file.tell(), len(data), crc)))
                file.write(data)
        self._size = 0
        yield from extents


def read_extent(extent: Extent) -> Iterator[Any]:
    """Yields the blocks of an extent.

    Raises:
      LimbeckError: the bytes are not what was written.
    """
    with open(extent.path, "rb") as file:
        file.seek(extent.start)
        data = file.read(extent.size)
    if len(data) != extent.size or google_crc32c.value(data) != extent.crc:
        raise LimbeckError(
            f"{extent.path}: bytes {extent.start} to {extent.start + extent.size} are not what was "
            "written; is the disk failing?"
        )
    at = 0
    while at < len(data):
        kind, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield _decode(kind, data[at : at + size])
        at += size


def _encode(block: Any) -> bytes:
    """A block as bytes: bytes as they are, anything else as JSON with the bytes in it as hex."""
    if isinstance(block, bytes):
        return _HEAD.pack(_BYTES, len(block)) + block
    text = json.dumps(block, default=_hex, ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    return _HEAD.pack(_JSON, len(data)) + data


def _decode(kind: bytes, data: bytes) -> Any:
    if kind == _BYTES:
        return data
    return json.loads(data.decode("utf-8", "surrogatepass"), object_hook=_from_hex)


def _hex(value: Any) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(
            f"a block holds a {type(value).__name__}; only JSON and bytes can be spilled"
        )
    return {_HEX: value.hex()}


def _from_hex(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value[_HEX]) if value.keys() == {_HEX} else value
