"""Feature tables."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from limbeck.records.documents import documents_layout
from limbeck.records.layout import DTYPES, KEY, Field, Layout

NUMBERS = [dtype for dtype in DTYPES if dtype not in ("bytes", "utf8")]
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "key")
NUMBER_FIELDS = st.builds(
    Field, NAMES, st.sampled_from(NUMBERS), st.lists(st.integers(1, 4), max_size=2).map(tuple)
)
TEXT_FIELDS = st.builds(
    Field, NAMES, st.sampled_from(["bytes", "utf8"]), st.sampled_from([(), (None,)])
)


def layouts(fields):
    unique = st.lists(fields, max_size=5, unique_by=lambda field: field.name)
    return unique.map(lambda found: Layout((KEY, *found)))


@given(layouts(NUMBER_FIELDS | TEXT_FIELDS))
def test_layout_survives_json(layout):
    table = json.loads(json.dumps(layout.to_json()))
    assert Layout.from_json(table) == layout
    assert layout.stride_is_fixed == all(field.dtype in NUMBERS for field in layout.fields)
    assert [field.name for field in layout.sorted_fields] == sorted(layout.names)


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "message"),
    [
        ("Ids", "uint8", (), "field name 'Ids'"),
        ("", "uint8", (), "field name ''"),
        ("a/b", "uint8", (), "field name 'a/b'"),
        ("x", "float64", (), "dtype 'float64' is none of"),
        ("x", ">u2", (), "dtype '>u2' is none of"),  # big-endian never reaches the disk
        ("x", "uint8", (0,), "must be of integers >= 1"),
        ("x", "uint8", (None,), "must be of integers >= 1"),
        ("x", "uint8", (True,), "must be of integers >= 1"),
        ("x", "utf8", (3,), r"has \(\) or \(None,\)"),
        ("x", "bytes", (None, None), r"has \(\) or \(None,\)"),
    ],
)
def test_bad_field_is_refused_with_the_value(name, dtype, shape, message):
    with pytest.raises(ValueError, match=message):
        Field(name, dtype, shape)


def test_layout_needs_the_key_and_different_names():
    with pytest.raises(ValueError, match=r"the field key uint8\[16\] is missing; found ids"):
        Layout((Field("ids", "uint8"),))
    with pytest.raises(ValueError, match="is missing"):
        Layout((Field("key", "uint8", (8,)),))
    with pytest.raises(ValueError, match="field 'ids' is there twice"):
        Layout((KEY, Field("ids", "uint8"), Field("ids", "uint16")))
    with pytest.raises(ValueError, match="no field 'x'; it has key, ids"):
        Layout((KEY, Field("ids", "uint8"))).field("x")


def test_record_that_no_protobuf_can_hold_is_refused():
    with pytest.raises(ValueError, match="the limit is"):
        Layout((KEY, Field("x", "float32", (1 << 28,))))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "expected a list of fields"),
        ("key", "expected a list of fields"),
        ([1], "expected name, dtype and shape"),
        ([{"name": "key", "dtype": "uint8"}], "expected name, dtype and shape"),
        ([{"name": "key", "dtype": "uint8", "shape": 16}], "is not a list"),
        ([{"name": "key", "dtype": "uint8", "shape": [16.0]}], "integers >= 1"),
        ([{"name": 5, "dtype": "uint8", "shape": []}], "field name 5"),
        ([{"name": "key", "dtype": ["uint8"], "shape": []}], "is none of"),
        ([], "is missing"),
    ],
)
def test_table_that_is_none_is_refused_naming_the_place(table, message):
    with pytest.raises(LimbeckError, match=f"m.json: .*{message}"):
        Layout.from_json(table, "m.json")


def test_documents_layout_holds_text():
    layout = documents_layout()
    assert layout.names == (
        "key",
        "title",
        "sentences",
        "paragraphs",
        "headings",
        "heading_places",
    )
    assert not layout.stride_is_fixed
    assert str(layout.field("sentences")) == "sentences utf8[*]"
