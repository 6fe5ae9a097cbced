"""The two-level order: a bijection, frozen, local on disk, and shuffled where windows are large."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import UsageError
from limbeck.order import Order, TwoLevel, TwoLevelPermutation

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_order.json").read_text())


def order(num_rows: int, block_rows: int, window_blocks: int, seed: int = 3) -> Order:
    sizes = TwoLevel(block_rows=block_rows, window_blocks=window_blocks)
    return Order(num_rows, seed, two_level=sizes)


@pytest.mark.parametrize("num_rows", [1, 2, 7, 8, 9, 63, 65, 257])
@pytest.mark.parametrize("block_rows", [1, 3, 8, 100])
@pytest.mark.parametrize("window_blocks", [1, 2, 5, 1000])
def test_small_sizes_are_permuted_exhaustively(num_rows, block_rows, window_blocks) -> None:
    rows = order(num_rows, block_rows, window_blocks).permutation(1)(np.arange(num_rows))
    assert rows.dtype == np.int64
    assert np.array_equal(np.sort(rows), np.arange(num_rows))


@settings(max_examples=25, deadline=None)
@given(
    num_rows=st.integers(1, 2**40) | st.just(2**62),
    block_rows=st.integers(1, 5000),
    window_blocks=st.integers(1, 5000),
    start=st.integers(min_value=0),
)
def test_large_sizes_stay_in_range_and_never_collide(
    num_rows: int, block_rows: int, window_blocks: int, start: int
) -> None:
    first = start % num_rows
    positions = np.arange(first, min(first + 200, num_rows))
    rows = order(num_rows, block_rows, window_blocks).permutation(0)(positions)
    assert rows.min() >= 0
    assert rows.max() < num_rows
    assert len(np.unique(rows)) == len(positions)


def test_windows_cover_the_epoch_and_hold_few_blocks() -> None:
    permutation = order(10_007, 16, 20).permutation(2)
    assert isinstance(permutation, TwoLevelPermutation)
    windows = [permutation.window(number) for number in range(permutation.num_windows)]
    assert windows[0].start == 0
    assert windows[-1].stop == 10_007
    for before, after in zip(windows, windows[1:], strict=False):
        assert before.stop == after.start
    for number, window in enumerate(windows):
        rows = permutation(np.arange(window.start, window.stop))
        blocks = np.unique(rows // 16)
        assert len(blocks) <= (39 if number == len(windows) - 1 else 20)
        # Whole blocks: a window's reader has nothing to read twice.
        assert len(rows) == np.minimum(16, 10_007 - blocks * 16).sum()
        assert {permutation.window_of(p) for p in (window.start, window.stop - 1)} == {number}


def test_short_block_is_not_always_at_one_end() -> None:
    places = {order(1001, 8, 4, seed).permutation(0).short_place for seed in range(40)}
    assert len(places) > 20


def test_neighbours_are_not_correlated() -> None:
    """Windows of 2^16 rows; an ideal permutation gives 0 +- 0.2 over 30 seeds, the goal is 0.6."""
    num_rows, total = 200_000, np.zeros(8)
    for seed in range(30):
        rows = order(num_rows, 64, 1024, seed).permutation(0)(np.arange(num_rows))
        x = (rows - rows.mean()) / rows.std()
        total += [np.mean(x[:-lag] * x[lag:]) for lag in range(1, 9)]
    assert np.abs(total / 30 * np.sqrt(num_rows)).max() < 0.6


def test_epochs_and_sizes_have_orders_of_their_own() -> None:
    found = {
        order(500, *sizes).permutation(epoch)(np.arange(500)).tobytes()
        for sizes in ((8, 10), (16, 10), (8, 11))
        for epoch in range(3)
    }
    assert len(found) == 9


@pytest.mark.parametrize("case", GOLDEN["two_level"], ids=lambda c: str(c["num_rows"]))
def test_golden_vectors_hold(case: dict) -> None:
    sizes = TwoLevel(block_rows=case["block_rows"], window_blocks=case["window_blocks"])
    permutation = Order(case["num_rows"], case["seed"], two_level=sizes).permutation(case["epoch"])
    assert permutation(case["positions"]).tolist() == case["rows"]


def test_impossible_sizes_and_positions_are_refused() -> None:
    with pytest.raises(UsageError, match="block_rows is 0"):
        TwoLevel(block_rows=0)
    with pytest.raises(ValueError, match=r"in \[0, 10\)"):
        order(10, 2, 2).permutation(0)([10])
