"""Our tf.train.Example against TensorFlow's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from limbeck.records.example import decode_example, encode_example, varint

tf = pytest.importorskip("tensorflow")

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)
# Of two names, one of which starts with the other, protobuf's C++ puts the shorter first, as we do,
# and its Python (upb) the longer. Names of one length leave no such choice.
FEATURES = st.dictionaries(
    st.text(st.characters(max_codepoint=0x7F), min_size=3, max_size=3),
    st.one_of(
        st.lists(st.binary(max_size=300), max_size=4),
        st.lists(INT64 | st.integers(-3, 300), max_size=40).map(lambda v: np.array(v, np.int64)),
        st.lists(FLOAT32, max_size=5).map(lambda v: np.array(v, np.float32)),
    ),
    max_size=5,
)


def of_tensorflow(features):
    """The same features as TensorFlow's message."""
    message = tf.train.Example()
    message.features.SetInParent()
    for name, values in features.items():
        feature = message.features.feature[name]
        if isinstance(values, list):
            feature.bytes_list.SetInParent()
            feature.bytes_list.value.extend(values)
        elif values.dtype == np.int64:
            feature.int64_list.SetInParent()
            feature.int64_list.value.extend(values.tolist())
        else:
            feature.float_list.SetInParent()
            feature.float_list.value.extend(values.tolist())
    return message


def same(left, right):
    if isinstance(left, list) or isinstance(right, list):
        return type(left) is type(right) and left == right
    return left.dtype == right.dtype and np.array_equal(left, right)


@settings(deadline=None, max_examples=300)
@given(FEATURES)
def test_bytes_equal_tensorflows_deterministic_serialisation(features):
    data = encode_example(features)
    assert data == of_tensorflow(features).SerializeToString(deterministic=True)
    assert tf.train.Example.FromString(data) == of_tensorflow(features)
    decoded = decode_example(data)
    assert decoded.keys() == features.keys()
    assert all(same(decoded[name], features[name]) for name in features)


def test_tensorflow_parses_what_we_write():
    data = encode_example(
        {
            "key": [bytes(range(16))],
            "ids": np.array([1, -5, 2**40]),
            "weights": np.array([0.5, 1.5], np.float32),
        }
    )
    parsed = tf.io.parse_single_example(
        data,
        {
            "key": tf.io.FixedLenFeature([], tf.string),
            "ids": tf.io.FixedLenFeature([3], tf.int64),
            "weights": tf.io.FixedLenFeature([2], tf.float32),
        },
    )
    assert parsed["key"].numpy() == bytes(range(16))
    assert parsed["ids"].numpy().tolist() == [1, -5, 2**40]
    assert parsed["weights"].numpy().tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (b"\x1a\x04\x08\x05\x08\x07", np.array([5, 7])),  # int64_list, not packed
        (b"\x1a\x0b\x08" + b"\xff" * 9 + b"\x01", np.array([-1])),
        (b"\x12\x05\x0d\x00\x00\x80\x3f", np.array([1.0], np.float32)),  # float_list, not packed
        (b"", []),  # no kind at all
    ],
)
def test_spellings_that_other_writers_use_are_read(feature, expected):
    entry = b"\x0a\x01x\x12" + varint(len(feature)) + feature
    data = b"\x0a" + varint(len(entry) + 2) + b"\x0a" + varint(len(entry)) + entry
    assert tf.train.Example.FromString(data).features.feature["x"] is not None
    assert same(decode_example(data)["x"], expected)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    try:
        decode_example(data)
    except LimbeckError:
        return


@settings(deadline=None, max_examples=300)
@given(FEATURES, st.data())
def test_damaged_message_is_read_or_refused(features, data):
    message = bytearray(encode_example(features))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    try:
        decode_example(bytes(message))
    except LimbeckError:
        return


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\x05", "has 5 bytes and 0 are left"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "bytes and 0 are left"),  # 2**63: no memory
        (b"\x0a", "cut short"),
        (b"\x08\x01", "wire type 0"),
        (b"\x12\x00", "field number 2"),
        (b"\x0a" + varint(2 * 7) + (b"\x0a\x05\x0a\x01x\x12\x00") * 2, "'x' is there twice"),
        (b"\x0a\x05\x0a\x03\x0a\x01\xff", "not UTF-8"),
    ],
)
def test_wrong_message_is_refused(data, message):
    with pytest.raises(LimbeckError, match=message):
        decode_example(data)


def test_feature_of_another_dtype_is_refused_by_name():
    with pytest.raises(ValueError, match="feature 'x': float64"):
        encode_example({"x": np.zeros(2)})
    with pytest.raises(ValueError, match="feature 'x': int64"):
        encode_example({"x": np.zeros((2, 2), np.int64)})
