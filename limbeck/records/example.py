"""tf.train.Example without protobuf: a deterministic encoder and a strict decoder.

The wire format (protobuf's encoding guide; example.proto and feature.proto of TensorFlow):

    Example  { Features features = 1; }
    Features { map<string, Feature> feature = 1; }    an entry: { key = 1; value = 2; }
    Feature  { oneof { BytesList = 1; FloatList = 2; Int64List = 3; } }
    BytesList { repeated bytes value = 1; }  FloatList, Int64List { repeated value = 1 [packed]; }

Entries are sorted by the bytes of their names, as protobuf's deterministic serialisation does, so
equal features have equal bytes. TensorFlow's own class is not used: registering
`tensorflow.Example` in protobuf's default pool makes a later `import tensorflow` fail.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError

__all__ = ["Feature", "decode_example", "encode_bytes_entry", "encode_example", "varint"]

# bytes_list: list of bytes. int64_list: int64 array (n,). float_list: float32 array (n,).
Feature = Sequence[bytes] | npt.NDArray[np.int64] | npt.NDArray[np.float32]

LENGTH_DELIMITED = 2
FIELD_1 = b"\x0a"  # field 1, length-delimited
FIELD_2 = b"\x12"
FIELD_3 = b"\x1a"
MAX_VARINT_BYTES = 10


def varint(value: int) -> bytes:
    """Returns a base-128 varint of a number in [0, 2**64)."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """Serialises features; the same features give the same bytes.

    Args:
      features: name -> list of bytes, or int64 array (n,), or float32 array (n,).
    """
    entries = [_entry(name, _feature(name, features[name])) for name in sorted(features)]
    return _field(FIELD_1, b"".join(entries))


def encode_bytes_entry(name: str, num_bytes: int) -> bytes:
    """Returns the bytes of a one-value bytes feature's map entry up to its `num_bytes` of value.

    The value is the entry's end, which is what makes a template of fixed stride possible.
    """
    return _entry(name, _feature(name, [bytes(num_bytes)]))[:-num_bytes]


def decode_example(data: bytes) -> dict[str, Feature]:
    """Reads a serialised tf.train.Example.

    Returns:
      name -> list of bytes, int64 array (n,) or float32 array (n,); a feature without a kind is an
      empty list.

    Raises:
      LimbeckError: not an Example, or one with double names or unknown fields.
    """
    features: dict[str, Feature] = {}
    for number, body in _fields(data, "Example"):
        _expect(number, (1,), "Example")
        for entry_number, entry in _fields(body, "Features"):
            _expect(entry_number, (1,), "Features")
            name, feature = _decode_entry(entry)
            if name in features:
                raise LimbeckError(f"Example: feature {name!r} is there twice")
            features[name] = feature
    return features


def _field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def _entry(name: str, feature: bytes) -> bytes:
    return _field(FIELD_1, _field(FIELD_1, name.encode()) + _field(FIELD_2, feature))


def _feature(name: str, values: Feature) -> bytes:
    if isinstance(values, np.ndarray):
        if values.ndim != 1 or values.dtype not in (np.int64, np.float32):
            raise ValueError(
                f"feature {name!r}: {values.dtype} {values.shape}; expected int64 or float32 (n,)"
            )
        if values.dtype == np.float32:
            packed = np.ascontiguousarray(values, "<f4").tobytes()
            return _field(FIELD_2, _field(FIELD_1, packed) if packed else b"")
        packed = _encode_varints(values.astype(np.uint64))  # two's complement, as protobuf
        return _field(FIELD_3, _field(FIELD_1, packed) if packed else b"")
    return _field(FIELD_1, b"".join(_field(FIELD_1, value) for value in values))


def _encode_varints(values: npt.NDArray[np.uint64]) -> bytes:
    """Returns all varints of `values` (n,), one behind the other."""
    shifts = np.arange(MAX_VARINT_BYTES, dtype=np.uint64) * np.uint64(7)
    groups = (values[:, None] >> shifts).astype(np.uint64)  # (n, 10): what is left at each byte
    used = groups != 0
    used[:, 0] = True
    more = np.zeros_like(used)
    more[:, :-1] = used[:, 1:]
    low = (groups & np.uint64(0x7F)).astype(np.uint8)
    flagged: npt.NDArray[np.uint8] = low | more.astype(np.uint8) << 7
    return bytes(flagged[used])


def _decode_varints(data: bytes) -> npt.NDArray[np.int64]:
    """Returns the varints of a packed list as int64 (n,)."""
    raw = np.frombuffer(data, np.uint8)
    if not raw.size:
        return np.zeros(0, np.int64)
    last = raw < 0x80
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1)) if ends.size else np.zeros(1, np.int64)
    lengths = ends - starts if ends.size else np.array([raw.size])
    if not last[-1] or lengths.max() >= MAX_VARINT_BYTES:
        raise LimbeckError("Example: an integer is cut short or longer than 10 bytes")
    place = np.arange(raw.size) - np.repeat(starts, lengths + 1)
    parts = (raw & 0x7F).astype(np.uint64) << (place * 7).astype(np.uint64)
    return np.add.reduceat(parts, starts).astype(np.int64)


def _read_varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 7 * MAX_VARINT_BYTES:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise LimbeckError(f"{where}: a number is cut short at byte {at}")


def _fields(data: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Yields (number, body) of each length-delimited field; nothing else occurs in an Example."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at, where)
        if tag & 7 != LENGTH_DELIMITED:
            raise LimbeckError(f"{where}: wire type {tag & 7} at byte {at}; not an Example")
        size, at = _read_varint(data, at, where)
        if size > len(data) - at:
            raise LimbeckError(
                f"{where}: a field at byte {at} has {size} bytes and {len(data) - at} are left"
            )
        yield tag >> 3, data[at : at + size]
        at += size


def _expect(number: int, allowed: tuple[int, ...], where: str) -> None:
    if number not in allowed:
        raise LimbeckError(f"{where}: field number {number}; expected one of {allowed}")


def _decode_entry(entry: bytes) -> tuple[str, Feature]:
    name, feature = "", b""
    for number, body in _fields(entry, "feature entry"):
        _expect(number, (1, 2), "feature entry")
        if number == 2:
            feature = body
            continue
        try:
            name = body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LimbeckError(f"Example: a feature name is not UTF-8: {body!r}") from error
    return name, _decode_feature(feature, name)


def _decode_feature(feature: bytes, name: str) -> Feature:
    where = f"feature {name!r}"
    kinds = list(_fields(feature, where))
    if not kinds:
        return []
    if len(kinds) > 1:
        raise LimbeckError(f"{where}: more than one list of values")
    kind, values = kinds[0]
    _expect(kind, (1, 2, 3), where)
    if kind == 1:
        bodies = list(_fields(values, where))
        for number, _ in bodies:
            _expect(number, (1,), where)
        return [body for _, body in bodies]
    return _decode_numbers(values, where, is_float=kind == 2)


def _decode_numbers(values: bytes, where: str, *, is_float: bool) -> Feature:
    """Reads a FloatList or Int64List, packed (as everybody writes it) or not (as anybody may)."""
    unpacked = b"\x0d" if is_float else b"\x08"
    if values.startswith(unpacked):
        packed = _pack(values, where, unpacked[0], is_float=is_float)
    else:
        packed = b"".join(body for _, body in _fields(values, where))
    if not is_float:
        return _decode_varints(packed)
    if len(packed) % 4:
        raise LimbeckError(f"{where}: {len(packed)} bytes of float32; expected a multiple of 4")
    return np.frombuffer(packed, "<f4").astype(np.float32)


def _pack(values: bytes, where: str, tag: int, *, is_float: bool) -> bytes:
    parts, at = [], 0
    while at < len(values):
        if values[at] != tag:
            raise LimbeckError(f"{where}: packed and unpacked values are mixed")
        start = at + 1
        at = start + 4 if is_float else _read_varint(values, start, where)[1]
        if at > len(values):
            raise LimbeckError(f"{where}: a value is cut short")
        parts.append(values[start:at])
    return b"".join(parts)
