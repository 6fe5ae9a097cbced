"""TensorBoard event files, without TensorFlow.

TensorBoard's own writer imports TensorFlow wherever that is installed, so the few fields of the
`Event` message that scalars need are encoded here. Protocol buffers: each field is a varint of
(number << 3 | wire type) and its value; wire type 0 is a varint, 1 eight bytes, 2 a length and
that many bytes, 5 four bytes.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from limbeck.records.tfrecord import frame

__all__ = ["EventFile", "scalar_event", "session_start_event", "version_event"]

# Field numbers of tensorboard/compat/proto/event.proto and summary.proto.
WALL_TIME, STEP, FILE_VERSION, SUMMARY, SESSION_LOG = 1, 2, 3, 5, 7
SUMMARY_VALUE = 1
VALUE_TAG, VALUE_SIMPLE = 1, 2
SESSION_STATUS, SESSION_START = 1, 1


def version_event(wall_time: float) -> bytes:
    """The message that every event file begins with."""
    return _double(WALL_TIME, wall_time) + _bytes(FILE_VERSION, b"brain.Event:2")


def session_start_event(wall_time: float, *, step: int) -> bytes:
    """Tells readers to forget what earlier files of the directory hold from `step` on."""
    session = _integer(SESSION_STATUS, SESSION_START)
    return _double(WALL_TIME, wall_time) + _integer(STEP, step) + _bytes(SESSION_LOG, session)


def scalar_event(wall_time: float, *, step: int, values: Mapping[str, float]) -> bytes:
    """One step's scalars; float32 as TensorBoard keeps them."""
    summary = b"".join(
        _bytes(
            SUMMARY_VALUE,
            _bytes(VALUE_TAG, tag.encode("utf-8")) + _float(VALUE_SIMPLE, value),
        )
        for tag, value in values.items()
    )
    return _double(WALL_TIME, wall_time) + _integer(STEP, step) + _bytes(SUMMARY, summary)


class EventFile:
    """A new event file of a directory; each record is flushed as it is written."""

    def __init__(self, directory: Path, *, first_step: int) -> None:
        """Opens a file of its own; values of other files from `first_step` on no longer count."""
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # The directory is read in the order of names; the time is why a resumed run comes later.
        stem = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
        number = sum(1 for _ in directory.glob("events.out.tfevents.*"))
        self.path = directory / f"{stem}.{number}"
        self._file = open(self.path, "xb")  # noqa: SIM115 - closed by `close`
        self._write(version_event(now))
        self._write(session_start_event(now, step=first_step))

    def write(self, wall_time: float, *, step: int, values: Mapping[str, float]) -> None:
        """Appends one step's scalars."""
        self._write(scalar_event(wall_time, step=step, values=values))

    def close(self) -> None:
        """Closes the file; harmless twice."""
        self._file.close()

    def _write(self, event: bytes) -> None:
        self._file.write(frame(event))
        self._file.flush()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _float(number: int, value: float) -> bytes:
    try:
        packed = struct.pack("<f", value)
    except OverflowError:  # beyond float32, where the JSON line keeps the number
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _varint(number << 3 | 5) + packed
