"""Layout rows to bytes and back, and what TensorFlow makes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from limbeck.records.layout import DTYPES, KEY, Field, Layout
from limbeck.records.rows import (
    FixedRows,
    decode_record,
    encode_record,
    payload_crcs,
    stack_records,
)
from limbeck.records.tfrecord import FOOTER_BYTES, HEADER_BYTES, frame, masked_crc

NUMBERS = [dtype for dtype in DTYPES if dtype not in ("bytes", "utf8")]
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "key")
SHAPES = st.lists(st.integers(1, 5), max_size=2).map(tuple)
FIXED = st.builds(Field, NAMES, st.sampled_from(NUMBERS), SHAPES)
TEXT = st.builds(Field, NAMES, st.sampled_from(["bytes", "utf8"]), st.sampled_from([(), (None,)]))
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def layouts(fields):
    unique = st.lists(fields, max_size=5, unique_by=lambda field: field.name)
    return unique.map(lambda found: Layout((KEY, *found)))


def random_bytes(data, num_bytes):
    return np.frombuffer(data.draw(st.binary(min_size=num_bytes, max_size=num_bytes)), np.uint8)


def fixed_rows(data, layout, num_rows):
    """Arrays of random bits, NaN included."""
    rows = {}
    for field in layout.fields:
        raw = random_bytes(data, num_rows * field.num_bytes)
        rows[field.name] = raw.view(field.numpy_dtype).reshape(num_rows, *field.shape)
    return rows


def text_value(data, field):
    if field.size_is_fixed:
        raw = random_bytes(data, field.num_bytes)
        return raw.view(field.numpy_dtype).reshape(field.shape)[()]
    item = UNICODE if field.dtype == "utf8" else st.binary(max_size=8)
    return data.draw(st.lists(item, max_size=3) if field.shape else item)


def same_bits(left, right):
    left, right = np.asarray(left), np.asarray(right)
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


@settings(deadline=None)
@given(layouts(FIXED), st.integers(0, 4), st.data())
def test_fixed_batch_survives_bit_for_bit(layout, num_rows, data):
    rows, codec = fixed_rows(data, layout, num_rows), FixedRows(layout)
    encoded, crcs = codec.encode(rows)
    assert encoded.shape == (num_rows, codec.stride)
    decoded = codec.decode(encoded)
    assert list(decoded) == list(layout.names)
    assert all(same_bits(decoded[name], rows[name]) for name in rows)
    assert not codec.wrong_rows(encoded, crcs=crcs, keys=rows["key"]).any()


@settings(deadline=None)
@given(layouts(FIXED), st.data())
def test_fixed_record_equals_the_record_encoded_alone(layout, data):
    rows = fixed_rows(data, layout, 3)
    encoded, crcs = FixedRows(layout).encode(rows)
    for number in range(3):
        row = {name: values[number] for name, values in rows.items()}
        payload = encode_record(layout, row)
        assert encoded[number].tobytes() == frame(payload)
        assert crcs[number] == masked_crc(payload)
        decoded = decode_record(layout, payload)
        assert all(same_bits(decoded[name], row[name]) for name in row)


@settings(deadline=None)
@given(layouts(FIXED | TEXT), st.data())
def test_variable_record_survives(layout, data):
    row = {field.name: text_value(data, field) for field in layout.fields}
    decoded = decode_record(layout, encode_record(layout, row))
    for field in layout.fields:
        if field.size_is_fixed:
            assert same_bits(decoded[field.name], row[field.name])
        else:
            assert decoded[field.name] == row[field.name]


@settings(deadline=None)
@given(layouts(FIXED), st.data())
def test_any_flipped_bit_of_a_fixed_record_is_wrong(layout, data):
    rows, codec = fixed_rows(data, layout, 2), FixedRows(layout)
    encoded, crcs = codec.encode(rows)
    at = data.draw(st.integers(0, codec.stride - 1))
    encoded[1, at] ^= 1 << data.draw(st.integers(0, 7))
    assert codec.wrong_rows(encoded, crcs=crcs, keys=rows["key"]).tolist() == [False, True]


def test_tensorflow_parses_fixed_and_variable_records():
    tf = pytest.importorskip("tensorflow")
    layout = Layout((KEY, Field("ids", "uint16", (3,)), Field("title", "utf8")))
    row = {"key": bytes(range(16)), "ids": np.array([1, 2, 65535], np.uint16), "title": "\u00e9"}
    string = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_single_example(
        encode_record(layout, row), {"key": string, "ids": string, "title": string}
    )
    assert parsed["key"].numpy() == bytes(range(16))
    assert tf.io.decode_raw(parsed["ids"], tf.uint16).numpy().tolist() == [1, 2, 65535]
    assert parsed["title"].numpy().decode() == "\u00e9"


def test_names_are_sorted_and_numbers_little_endian_on_disk():
    layout = Layout((KEY, Field("b", "uint32"), Field("a", "uint16")))
    row = {"key": bytes(16), "b": np.uint32(0x01020304), "a": np.uint16(0x0506)}
    payload = encode_record(layout, row)
    assert payload.index(b"a\x12") < payload.index(b"b\x12") < payload.index(b"key\x12")
    assert b"\x06\x05" in payload and b"\x04\x03\x02\x01" in payload


def test_big_endian_values_are_refused():
    layout = Layout((KEY, Field("a", "uint16", (2,))))
    with pytest.raises(ValueError, match=r"field a uint16\[2\]: got >u2"):
        encode_record(layout, {"key": bytes(16), "a": np.array([1, 2], ">u2")})


@pytest.mark.parametrize("width", [64, 1 << 15])
def test_crcs_of_narrow_and_wide_records(width):
    layout = Layout((KEY, Field("x", "uint8", (width,))))
    rng = np.random.default_rng(0)
    rows = {"key": rng.integers(0, 256, (3, 16), np.uint8)}
    rows["x"] = rng.integers(0, 256, (3, width), np.uint8)
    encoded, crcs = FixedRows(layout).encode(rows)
    payloads = encoded[:, HEADER_BYTES:-FOOTER_BYTES]
    assert crcs.tolist() == [masked_crc(row.tobytes()) for row in payloads]
    assert payload_crcs(encoded[::2]).tolist() == crcs[::2].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": None}, "got NoneType; expected str"),
        ({"title": b"x"}, "got bytes; expected str"),
        ({"title": "\ud800"}, "not valid Unicode"),
        ({"lines": "abc"}, "got str; expected a list"),
        ({"lines": ["a", 1]}, "got int; expected str"),
        ({"n": 1}, "field n uint16: got int64"),
        ({"n": np.zeros(2, np.uint16)}, r"got uint16 \(2,\)"),
        ({"key": bytes(15)}, r"field key uint8\[16\]: got uint8 \(15,\)"),
        ({"extra": 1}, "record has the fields extra, key"),
    ],
)
def test_wrong_value_is_refused_naming_the_field(change, message):
    layout = Layout(
        (KEY, Field("title", "utf8"), Field("lines", "utf8", (None,)), Field("n", "uint16"))
    )
    row = {"key": bytes(16), "title": "t", "lines": [], "n": np.uint16(1)}
    assert decode_record(layout, encode_record(layout, row))["title"] == "t"
    with pytest.raises(ValueError, match=message):
        encode_record(layout, {**row, **change})


def test_records_stack_into_columns():
    layout = Layout((KEY, Field("n", "uint16"), Field("x", "float32", (2,))))
    records = [
        {"key": bytes([i] * 16), "n": np.uint16(i), "x": np.full(2, i, np.float32)}
        for i in range(3)
    ]
    table = stack_records(layout, records)
    assert table["n"].tolist() == [0, 1, 2]
    assert table["x"].shape == (3, 2) and table["key"].shape == (3, 16)
    assert stack_records(layout, [])["x"].shape == (0, 2)


def test_record_of_another_layout_is_refused():
    small, large = Layout((KEY,)), Layout((KEY, Field("n", "uint16")))
    payload = encode_record(small, {"key": bytes(16)})
    with pytest.raises(LimbeckError, match="has the features key; expected key, n"):
        decode_record(large, payload)
    wide = Layout((KEY, Field("n", "uint32")))
    payload = encode_record(wide, {"key": bytes(16), "n": np.uint32(1)})
    with pytest.raises(LimbeckError, match="field n uint16: found 4 bytes; expected 2"):
        decode_record(large, payload)
