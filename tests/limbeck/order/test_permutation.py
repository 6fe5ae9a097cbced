"""Bijection, golden vectors, statistics and independence of the process of the permutation."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.order import ORDER_VERSION, Permutation, epoch_permutation

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_order.json").read_text())


@pytest.mark.parametrize("num_rows", [*range(0, 70), 127, 128, 129, 255, 256, 257, 1000, 4093])
def test_small_sizes_are_permuted_exhaustively(num_rows: int) -> None:
    for epoch in range(3):
        rows = epoch_permutation(num_rows, seed=5, epoch=epoch)(np.arange(num_rows))
        assert rows.dtype == np.int64
        assert np.array_equal(np.sort(rows), np.arange(num_rows))


def test_power_of_two_is_a_bijection_of_all_its_rows() -> None:
    rows = epoch_permutation(1 << 16, seed=0, epoch=0)(np.arange(1 << 16))
    assert np.array_equal(np.sort(rows), np.arange(1 << 16))


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(min_value=1, max_value=2**40) | st.just(2**62),
    key=st.binary(max_size=40),
    start=st.integers(min_value=0),
)
def test_large_sizes_stay_in_range_and_never_collide(num_rows: int, key: bytes, start: int) -> None:
    first = start % num_rows
    positions = np.arange(first, min(first + 500, num_rows))
    rows = Permutation(num_rows, key)(positions)
    assert rows.min() >= 0
    assert rows.max() < num_rows
    assert len(np.unique(rows)) == len(positions)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['num_rows']}-{c['epoch']}")
def test_golden_vectors_hold(case: dict) -> None:
    assert GOLDEN["order_version"] == ORDER_VERSION
    permutation = epoch_permutation(case["num_rows"], seed=case["seed"], epoch=case["epoch"])
    assert permutation(case["positions"]).tolist() == case["rows"]


def test_python_integers_give_the_same_rows_as_the_vectorised_network() -> None:
    """The definition once more, in whole numbers and one row at a time."""
    permutation = epoch_permutation(1000, seed=1, epoch=2)
    assert [_oracle(permutation, i) for i in range(1000)] == permutation(np.arange(1000)).tolist()


def _oracle(permutation: Permutation, value: int) -> int:
    wrap = 2**64 - 1
    while True:
        a = permutation.num_bits // 2
        b = permutation.num_bits - a
        left, right = value >> b, value & (2**b - 1)
        for key in permutation.round_keys:
            x = right ^ int(key)
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & wrap
            x = (x ^ (x >> 27)) * 0x94D049BB133111EB & wrap
            left, right, a, b = right, left ^ (x ^ (x >> 31)) & (2**a - 1), b, a
        value = left << b | right
        if value < permutation.num_rows:
            return value


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (60_000, 500_000, 1_000_000)]


@pytest.mark.parametrize("num_rows", [10_000, 40_000, 65_536, 100_000, *SLOW])
def test_neighbours_are_not_correlated(num_rows: int) -> None:
    """An ideal permutation gives 0 +- 0.18 over 30 seeds; four rounds gave up to 90."""
    total = np.zeros(8)
    for seed in range(30):
        rows = epoch_permutation(num_rows, seed=seed, epoch=0)(np.arange(num_rows))
        x = (rows - rows.mean()) / rows.std()
        total += [np.mean(x[:-lag] * x[lag:]) for lag in range(1, 9)]
    assert np.abs(total / 30 * np.sqrt(num_rows)).max() < 0.6


@pytest.mark.parametrize("num_rows", [40_000, 100_003])
def test_rows_go_everywhere(num_rows: int) -> None:
    """Distances between rows that were neighbours on disk are those of an ideal shuffle.

    Their entropy over 1,024 bins is compared with the exact triangular law of the distance, within
    0.01 bit (the sampling error at these sizes is about 0.005); chi-square of where the first 1,000
    rows land, over 20 seeds: p > 0.001 for 63 degrees of freedom is below 103.
    """
    entropies, landed = [], np.zeros(64)
    for seed in range(20):
        rows = epoch_permutation(num_rows, seed=seed, epoch=0)(np.arange(num_rows))
        places = np.empty(num_rows, np.int64)
        places[rows] = np.arange(num_rows)
        share = np.bincount(np.abs(np.diff(places)) * 1024 // num_rows, minlength=1024) / num_rows
        entropies.append(-(share[share > 0] * np.log2(share[share > 0])).sum())
        landed += np.bincount(places[:1000] * 64 // num_rows, minlength=64)
    edges = np.linspace(0, 1, 1025)
    ideal = np.diff(2 * edges - edges**2)
    bias = 1023 / (2 * num_rows * np.log(2))  # of an entropy estimated from counts (Miller 1955)
    assert abs(np.mean(entropies) + bias + (ideal * np.log2(ideal)).sum()) < 0.01
    assert ((landed - landed.mean()) ** 2 / landed.mean()).sum() < 103


@pytest.mark.parametrize(("num_rows", "num_orders"), [(2, 2), (3, 6), (4, 24)])
def test_every_order_of_a_few_rows_is_about_as_likely(num_rows: int, num_orders: int) -> None:
    seeds = 720
    orders = [
        tuple(epoch_permutation(num_rows, seed=seed, epoch=0)(np.arange(num_rows)).tolist())
        for seed in range(seeds)
    ]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == num_orders
    expected = seeds / num_orders
    # Chi-square over its degrees of freedom: 1 on average; 3 is past p = 1e-3 for 5 and 23.
    assert ((counts - expected) ** 2 / expected).sum() / (num_orders - 1) < 3


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    positions = np.arange(1000)
    orders = {
        epoch_permutation(1000, seed=seed, epoch=epoch)(positions).tobytes()
        for seed in (0, 1, -1, 12)
        for epoch in (0, 1, 2)
    }
    assert len(orders) == 12


def test_shape_is_kept_and_positions_out_of_range_are_refused() -> None:
    permutation = Permutation(10, b"k")
    assert permutation(3).shape == ()
    assert permutation(np.zeros((2, 3), np.int32)).shape == (2, 3)
    assert permutation(np.arange(0)).shape == (0,)
    for positions in ([-1], [10], [3, 11]):
        with pytest.raises(ValueError, match=r"in \[0, 10\)"):
            permutation(positions)
    with pytest.raises(ValueError, match="-1"):
        Permutation(-1, b"k")


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_order_does_not_depend_on_hash_seed_locale_or_time_zone(hash_seed: str) -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from limbeck.order import Order\n"
        "rows = Order(1009, 7).batch_rows(0, 5000).rows\n"
        "print(hashlib.sha256(rows.astype('<i8').tobytes()).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == GOLDEN["sha256_of_1009_rows_seed_7_first_5000"]
