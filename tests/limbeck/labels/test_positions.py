import numpy as np
import pytest

from limbeck.labels.positions import flatten, from_fields, to_fields, unflatten
from limbeck.records.layout import KEY, Field, Layout


def test_flatten_lists_used_slots_row_by_row():
    flat = flatten(np.array([2, 0, 3]), 3)
    np.testing.assert_array_equal(flat.rows, [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(flat.slots, [0, 1, 0, 1, 2])


def test_unflatten_restores_values_and_pads_with_zeros():
    values = np.arange(1, 7, dtype=np.int16).reshape(3, 2)
    padded = unflatten(values, flatten(np.array([1, 2]), 2), num_rows=2, num_slots=2)
    assert padded.dtype == np.int16
    np.testing.assert_array_equal(padded, [[[1, 2], [0, 0]], [[3, 4], [5, 6]]])


def test_unflatten_of_nothing_is_all_zeros():
    flat = flatten(np.zeros(2, np.int64), 4)
    padded = unflatten(np.zeros((0, 3), np.float16), flat, num_rows=2, num_slots=4)
    assert padded.shape == (2, 4, 3) and not padded.any()


LAYOUT = Layout(
    fields=(
        KEY,
        Field("num_positions", "uint16"),
        Field("ids", "uint16", (3, 2)),
        Field("x", "float32", (3,)),
    )
)


def test_fields_of_records_are_padded_and_of_the_layouts_dtype():
    arrays = {"ids": np.array([[1], [2], [3]], np.int32), "x": np.float32([0.5, 1.5, 2.5])}
    fields = to_fields(arrays, np.array([1, 0, 2]), layout=LAYOUT)
    assert {name: values.dtype for name, values in fields.items()} == {
        "num_positions": np.uint16,
        "ids": np.uint16,
        "x": np.float32,
    }
    np.testing.assert_array_equal(fields["num_positions"], [1, 0, 2])
    np.testing.assert_array_equal(fields["x"], [[0.5, 0, 0], [0, 0, 0], [1.5, 2.5, 0]])
    # A dimension that is longer in the layout is filled with zeros.
    np.testing.assert_array_equal(fields["ids"][2], [[2, 0], [3, 0], [0, 0]])
    back, flat = from_fields(fields)
    np.testing.assert_array_equal(back["x"], arrays["x"])
    np.testing.assert_array_equal((flat.rows, flat.slots), [[0, 2, 2], [0, 0, 1]])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 1], "field ids: 3 positions, but the records have 2, up to 1 of 3 slots"),
        ([4, -1], "up to 4 of 3 slots"),
    ],
)
def test_counts_that_do_not_fit_are_refused(counts, message):
    arrays = {"ids": np.zeros((3, 2), np.int32), "x": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=message):
        to_fields(arrays, np.array(counts), layout=LAYOUT)
