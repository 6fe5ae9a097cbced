import numpy as np

from limbeck.labels.positions import flatten, unflatten


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
