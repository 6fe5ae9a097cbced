import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.teachers.batching import plan_batches


def plan(lengths, batch_tokens=64, length_multiple=8, max_length=32, fill=False):
    return plan_batches(
        np.array(lengths, np.int64),
        batch_tokens=batch_tokens,
        length_multiple=length_multiple,
        max_length=max_length,
        fill=fill,
    )


def real_rows(batches):
    return np.concatenate([b.real_rows for b in batches])


@pytest.mark.parametrize(
    ("lengths", "shapes"),
    [
        ([], []),
        ([5], [(1, 8)]),
        ([32, 32, 9], [(2, 32), (1, 16)]),  # 64 // 32 rows, then what is left
        ([9, 9, 9], [(3, 16)]),
        ([31], [(1, 32)]),  # rounded up to the multiple
        ([32] * 5, [(2, 32), (2, 32), (1, 32)]),
        ([1] * 9, [(8, 8), (1, 8)]),
    ],
)
def test_batches_have_the_expected_shapes(lengths, shapes):
    assert [(len(b.rows), b.length) for b in plan(lengths)] == shapes


@pytest.mark.parametrize(
    ("num_rows", "filled"),
    [(1, 2), (2, 2), (3, 4), (15, 16), (16, 16)],  # eighths of the 16 rows that fit
)
def test_filled_last_batch_takes_a_multiple_of_an_eighth(num_rows, filled):
    (batch,) = plan([8] * num_rows, batch_tokens=128, fill=True)
    assert len(batch.rows) == filled
    assert batch.num_real == num_rows
    np.testing.assert_array_equal(batch.rows[num_rows:], num_rows - 1)  # repeats of the last


def test_longest_rows_come_first_and_ties_by_row():
    np.testing.assert_array_equal(real_rows(plan([3, 8, 5, 8])), [1, 3, 2, 0])


def test_padded_length_is_cut_at_the_maximum():
    (batch,) = plan([30], length_multiple=16, max_length=30)
    assert batch.length == 30


def test_row_longer_than_the_budget_gets_a_batch_of_its_own():
    assert [(len(b.rows), b.length) for b in plan([32, 32], batch_tokens=8)] == [(1, 32)] * 2


def test_row_longer_than_the_maximum_is_refused():
    with pytest.raises(ValueError, match="a row has 33 tokens; max_length is 32"):
        plan([33])


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 100), max_size=200),
    batch_tokens=st.integers(1, 500),
    length_multiple=st.sampled_from([1, 8, 16, 32]),
    fill=st.booleans(),
)
def test_every_row_is_real_exactly_once_and_fits_its_batch(
    lengths, batch_tokens, length_multiple, fill
):
    batches = plan(lengths, batch_tokens, length_multiple, max_length=100, fill=fill)
    rows = real_rows(batches) if batches else np.zeros(0, np.int64)
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(lengths)))
    lengths = np.array(lengths, np.int64)
    for batch in batches:
        assert lengths[batch.rows].max() <= batch.length <= 100
        assert batch.num_slots <= max(batch_tokens, batch.length)
    assert all(b.num_real == len(b.rows) for b in batches[:-1])
