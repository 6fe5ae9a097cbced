"""Records of a layout to bytes and back: whole batches of fixed stride, or one variable record.

A fixed record is a template (framing, feature names, lengths: the same bytes in every record) with
holes; a field is a column of a uint8 (N, stride) array. So a batch encodes as one fill a field and
decodes as one copy a field, with no loop over records but for the CRCs.
"""

# N rows

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.example import decode_example, encode_bytes_entry, encode_example, varint
from limbeck.records.layout import Field, Layout
from limbeck.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, MASK_DELTA, header

__all__ = [
    "FixedRows",
    "decode_record",
    "encode_record",
    "field_bytes",
    "payload_crcs",
    "stack_records",
]

Array = npt.NDArray[Any]
Uint8 = npt.NDArray[np.uint8]
Uint32 = npt.NDArray[np.uint32]


class FixedRows:
    """Encodes and decodes batches of a layout whose stride is fixed."""

    def __init__(self, layout: Layout) -> None:
        """Lays out the template of one framed record."""
        if not layout.stride_is_fixed:
            raise ValueError("the layout has fields of variable length")
        self.layout = layout
        self.columns: dict[str, slice] = {}
        body = bytearray()
        for field in layout.sorted_fields:
            body += encode_bytes_entry(field.name, field.num_bytes)
            self.columns[field.name] = slice(len(body), len(body) + field.num_bytes)
            body += bytes(field.num_bytes)
        start = b"\x0a" + varint(len(body))  # Example { features = 1 }
        shift = HEADER_BYTES + len(start)
        self.columns = {n: slice(c.start + shift, c.stop + shift) for n, c in self.columns.items()}
        record = header(len(start) + len(body)) + start + bytes(body) + bytes(FOOTER_BYTES)
        self.template: Uint8 = np.frombuffer(record, np.uint8)
        self.stride = len(record)

    @functools.cached_property
    def constant(self) -> tuple[slice, ...]:
        """The columns of the template that no field fills, in order, without the payload's CRC."""
        ends = [0, *(column.stop for column in self.columns.values())]
        starts = [*(column.start for column in self.columns.values()), self.stride - FOOTER_BYTES]
        return tuple(slice(a, b) for a, b in zip(ends, starts, strict=True) if a < b)

    def encode(self, rows: Mapping[str, Array]) -> tuple[Uint8, Uint32]:
        """Serialises a batch.

        Args:
          rows: an array (N, *shape) of the field's dtype for each field.

        Returns:
          uint8 (N, stride), the framed records, and uint32 (N,), their payload CRCs.
        """
        data = np.tile(self.template, (len(rows["key"]), 1))
        for field in self.layout.fields:
            values = np.ascontiguousarray(rows[field.name], field.numpy_dtype)
            numbers = values.reshape(len(data), field.num_bytes // values.itemsize)
            data[:, self.columns[field.name]] = numbers.view(np.uint8)
        crcs = payload_crcs(data)
        data[:, -FOOTER_BYTES:] = crcs.astype("<u4")[:, None].view(np.uint8)
        return data, crcs

    def decode(self, data: Uint8, places: Array | None = None) -> dict[str, Array]:
        """Returns one array (n, *shape) a field.

        Args:
          data: uint8 (N, stride), framed records.
          places: (n,) which of them, in what order; None for all as they are.
        """
        result = {}
        for field in self.layout.fields:
            column = data[:, self.columns[field.name]]
            column = column.copy() if places is None else column[places]
            values = column.view(field.numpy_dtype).reshape(len(column), *_dims(field))
            result[field.name] = values.astype(field.numpy_dtype.newbyteorder("="), copy=False)
        return result

    def keys(self, data: Uint8) -> Uint8:
        """Returns the keys (N, 16) of framed records, as a view."""
        return data[:, self.columns["key"]]

    def wrong_rows(self, data: Uint8, *, crcs: Uint32, keys: Uint8) -> npt.NDArray[np.bool_]:
        """Returns bool (N,): records that are not the ones that were written.

        Wrong are: framing or feature names other than the template's; a payload whose CRC is not
        the stored one, or not the one in `crcs` (N,); a key that is not the one in `keys` (N, 16).
        """
        stored = data[:, -FOOTER_BYTES:].copy().view("<u4")[:, 0]
        bad: npt.NDArray[np.bool_] = (stored != crcs) | (payload_crcs(data) != crcs)
        differing = [self.keys(data) != keys]
        differing += [data[:, part] != self.template[part] for part in self.constant]
        for differs in differing:
            if differs.any():  # of everything at once: several times faster than row by row
                bad |= differs.any(1)
        return bad


def payload_crcs(data: Uint8) -> Uint32:
    """Returns the masked CRC32C (N,) of the payloads of framed records (N, stride)."""
    payloads = data[:, HEADER_BYTES : data.shape[1] - FOOTER_BYTES]
    payloads.flags.writeable = False  # of the view: the library takes read-only buffers only
    value = google_crc32c.value
    raw = np.array([value(payload) for payload in payloads], np.uint32)
    return (raw >> np.uint32(15) | raw << np.uint32(17)) + np.uint32(MASK_DELTA)


def encode_record(layout: Layout, row: Mapping[str, Any]) -> bytes:
    """Serialises one record of any layout.

    Args:
      layout: its fields.
      row: a value for each field: an array of the field's dtype and shape (bytes will do for the
        key), bytes, str, or a list of them.

    Raises:
      ValueError: a field is missing, unknown, or of another type; names it.
    """
    _check_names(layout, row)
    return encode_example({f.name: field_bytes(f, row[f.name]) for f in layout.fields})


def decode_record(layout: Layout, payload: bytes) -> dict[str, Any]:
    """Reads what `encode_record` wrote.

    Returns:
      field name -> array of native byte order, bytes, str, list of bytes or list of str.

    Raises:
      LimbeckError: the payload is not a record of this layout.
    """
    features = decode_example(payload)
    if features.keys() != set(layout.names):
        raise LimbeckError(
            f"record has the features {', '.join(sorted(features))}; "
            f"expected {', '.join(sorted(layout.names))}"
        )
    return {field.name: _from_bytes(field, features[field.name]) for field in layout.fields}


def _check_names(layout: Layout, row: Mapping[str, Any]) -> None:
    if row.keys() != set(layout.names):
        raise ValueError(
            f"record has the fields {', '.join(sorted(row))}; expected {', '.join(layout.names)}"
        )


def _dims(field: Field) -> tuple[int, ...]:
    return tuple(n for n in field.shape if n is not None)


def stack_records(layout: Layout, records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Returns records of a fixed layout as one array (N, *shape) a field.

    Raises:
      ValueError: a record has other fields, or a value another dtype or shape; names it.
    """
    for record in records:
        _check_names(layout, record)
    table = {}
    for field in layout.fields:
        data = b"".join(field_bytes(field, record[field.name])[0] for record in records)
        values = np.frombuffer(data, field.numpy_dtype)
        table[field.name] = values.reshape(len(records), *_dims(field))
    return table


def field_bytes(field: Field, value: Any) -> list[bytes]:
    """Returns the bytes values of one field's feature.

    Raises:
      ValueError: the value is of another dtype, shape or type.
    """
    if field.size_is_fixed:
        if isinstance(value, bytes) and field.numpy_dtype.itemsize == 1:
            value = np.frombuffer(value, field.numpy_dtype)
        array = np.asarray(value)
        if array.dtype != field.numpy_dtype or array.shape != _dims(field):
            raise ValueError(f"field {field}: got {array.dtype} {array.shape}")
        return [np.ascontiguousarray(array, field.numpy_dtype).tobytes()]
    kind = str if field.dtype == "utf8" else bytes
    values = list(value) if field.shape and isinstance(value, list | tuple) else [value]
    if field.shape and not isinstance(value, list | tuple):
        raise ValueError(f"field {field}: got {type(value).__name__}; expected a list")
    for item in values:
        if not isinstance(item, kind):
            raise ValueError(f"field {field}: got {type(item).__name__}; expected {kind.__name__}")
    try:
        return [item.encode("utf-8") if isinstance(item, str) else item for item in values]
    except UnicodeEncodeError as error:
        raise ValueError(f"field {field}: text is not valid Unicode: {error}") from error


def _from_bytes(field: Field, feature: Any) -> Any:
    if not isinstance(feature, list):
        raise LimbeckError(f"field {field}: found numbers; expected bytes")
    if (not field.shape or field.size_is_fixed) and len(feature) != 1:
        raise LimbeckError(f"field {field}: found {len(feature)} values; expected 1")
    if field.size_is_fixed:
        if len(feature[0]) != field.num_bytes:
            raise LimbeckError(
                f"field {field}: found {len(feature[0])} bytes; expected {field.num_bytes}"
            )
        array = np.frombuffer(feature[0], field.numpy_dtype).reshape(_dims(field))
        return array.astype(field.numpy_dtype.newbyteorder("="))[()]  # a scalar where shape is ()
    values = feature
    if field.dtype == "utf8":
        try:
            values = [item.decode("utf-8") for item in feature]
        except UnicodeDecodeError as error:
            raise LimbeckError(f"field {field}: not UTF-8: {error}") from error
    return values if field.shape else values[0]
