"""One spelling of JSON, and nothing else."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from limbeck.records.canonical import canonical, differences, parse, parse_canonical, plain

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_value_survives_and_has_one_spelling(value):
    data = canonical(value) + b"\n"
    assert data.isascii()
    assert parse_canonical(data, "x") == value
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


@given(VALUES, st.data())
def test_any_changed_byte_is_another_value_or_refused(value, data):
    text = bytearray(canonical(value) + b"\n")
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    try:
        found = parse_canonical(bytes(text), "x")
    except LimbeckError:
        return
    assert canonical(found) != canonical(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"a":1,"a":1}\n', "key 'a' is there twice"),
        (b'{"a":{"b":1,"b":2}}\n', "key 'b' is there twice"),
        (b"NaN\n", "NaN is not a number"),
        (b"-Infinity\n", "-Infinity is not a number"),
        (b"1e999\n", "not JSON compliant"),
        (b"\xff\n", "can't decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000 + b"\n", "integer string conversion"),
        (b'{"b":1,"a":1}\n', "byte 2"),
        (b'{"a": 1}\n', "byte 5"),
        (b'{"a":1}', "byte 7"),
        (b'{"a":1}\n\n', "byte 8"),
        (b"1.0e0\n", "byte 3"),
        (b'"\\u0041"\n', "byte 1"),
    ],
)
def test_other_spelling_or_no_json_is_refused_naming_the_file(data, message):
    with pytest.raises(LimbeckError, match=f"^m.json: .*{message}"):
        parse_canonical(data, "m.json")


def test_ordinary_json_is_read_where_it_may_be():
    assert parse(b'{ "b": 1, "a": 2 }', "x") == {"a": 2, "b": 1}


def test_plain_turns_tuples_into_lists():
    assert plain({"a": (1, (2.5, None))}, "settings") == {"a": [1, [2.5, None]]}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, float("nan")]}, r"settings.a\[1\]: nan"),
        ({"a": float("inf")}, "settings.a: inf"),
        ({"a": {1: 2}}, "settings.a: key 1 is not text"),
        ({"a": np.float32(1)}, "settings.a: np.float32"),
        ({"a": np.int64(1)}, "settings.a: np.int64"),
        ({"a": b"x"}, "settings.a: b'x'"),
        ({"a": {1, 2}}, r"settings.a: \{1, 2\} \(set\)"),
    ],
)
def test_plain_refuses_what_json_would_change(value, place):
    with pytest.raises(ValueError, match=place):
        plain(value, "settings")


def test_differences_name_the_leaf_and_both_values():
    there = {"k": 16, "grid": [1, 2], "same": 1, "old": True, "deep": {"x": 1.0}}
    here = {"k": 32, "grid": [1, 2, 4], "same": 1, "new": "a", "deep": {"x": 1}}
    assert differences(there, here, "settings") == [
        "settings.deep.x is 1.0 there and 1 here",
        "settings.grid is [1, 2] there and [1, 2, 4] here",
        "settings.k is 16 there and 32 here",
        "settings.new is missing there and a here",
        "settings.old is true there and missing here",
    ]
    assert differences(there, there) == []
