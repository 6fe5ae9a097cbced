"""TFRecord framing: u64 length, masked CRC32C of the length, payload, masked CRC32C of the payload.

All little-endian. TFRecord sees a damaged record but not a missing, swapped, repeated or foreign
one; `limbeck.records.index` and the manifest are there for those.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from limbeck.config.errors import LimbeckError

__all__ = ["FOOTER_BYTES", "HEADER_BYTES", "frame", "header", "masked_crc", "read_frames"]

HEADER_BYTES = 12
FOOTER_BYTES = 4
MASK_DELTA = 0xA282EAD8  # TensorFlow's: a CRC of data that holds CRCs would be weak


def masked_crc(data: bytes) -> int:
    """Returns CRC32C of `data`, rotated right by 15 bits plus a constant, as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


def header(payload_bytes: int) -> bytes:
    """Returns the 12 bytes before a payload of that length."""
    length = struct.pack("<Q", payload_bytes)
    return length + struct.pack("<I", masked_crc(length))


def frame(payload: bytes) -> bytes:
    """Returns a whole record: header, payload, CRC of the payload."""
    return header(len(payload)) + payload + struct.pack("<I", masked_crc(payload))


def read_frames(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yields the payloads of any TFRecord file in order, every CRC checked.

    A length is believed only after its CRC, and never beyond the end of the file, so that a damaged
    one allocates nothing. A file cut exactly between two records looks whole: compare counts.

    Raises:
      LimbeckError: naming file, record and byte offset.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        offset = record = 0
        while offset < size:
            payload = _read_frame(file, size - offset, f"{path}: record {record}, byte {offset}")
            yield payload
            offset += HEADER_BYTES + len(payload) + FOOTER_BYTES
            record += 1


def _read_frame(file: BinaryIO, left: int, where: str) -> bytes:
    head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise LimbeckError(f"{where}: the file ends inside a record; is the copy complete?")
    length = struct.unpack_from("<Q", head)[0]
    if head != header(length):
        raise LimbeckError(f"{where}: length CRC wrong; not a TFRecord file, or damaged")
    if length > left - HEADER_BYTES - FOOTER_BYTES:
        raise LimbeckError(
            f"{where}: the record has {length} bytes and the file only {left} more; "
            "is the copy complete?"
        )
    body = file.read(length + FOOTER_BYTES)
    payload = body[:length]
    expected = struct.pack("<I", masked_crc(payload))
    if body[length:] != expected:
        raise LimbeckError(
            f"{where}: expected payload CRC {body[length:].hex()}, found {expected.hex()}: damaged"
        )
    return payload
