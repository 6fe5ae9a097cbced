"""Mixtures: a schedule that is arithmetic, an epoch count a corpus, the same for every world."""

import dataclasses
import json
import pathlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order import (
    MAX_STATE_BYTES,
    Mixture,
    Order,
    StreamState,
    TwoLevel,
    rank_slice,
    size_weights,
    whole_weights,
)
from limbeck.order.mixture import shares

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_order.json").read_text())


def mixture(sizes, weights=None, seed: int = 4, **options) -> Mixture:
    orders = tuple(Order(n, seed, name=f"c{i}", **options) for i, n in enumerate(sizes))
    return Mixture(orders, tuple(weights or sizes))


def sequence(order, batch, num_batches, position=0):
    """(corpus row numbers and epochs) of the batches, one after the other."""
    rows, epochs = [], []
    for _ in range(num_batches):
        found = order.batch_rows(position, batch)
        rows.append(found.rows)
        epochs.append(found.epochs)
        position = found.next_position
    return np.concatenate(rows), np.concatenate(epochs)


def by_hand(weights, count):
    """Corpus of each position, by the definition and one at a time."""
    out = []
    for position in range(count):
        total, at = sum(weights), position
        for corpus, weight in enumerate(weights):
            before = at * weight // total
            if (at + 1) * weight // total > before:
                out.append((corpus, before))
                break
            at, total = at - before, total - weight
    return out


@pytest.mark.parametrize("weights", [(1,), (1, 1), (3, 1), (1, 3), (10, 30, 5), (1, 1, 1, 97)])
def test_schedule_is_the_stated_arithmetic(weights) -> None:
    expected = by_hand(weights, 230)
    for start in (0, 1, 17, 100):
        found: dict[int, tuple[int, int]] = {}
        for corpus, part in enumerate(shares(weights, start, 130)):
            for number, place in enumerate(part.places.tolist()):
                found[place] = (corpus, part.start + number)
        assert [found[place] for place in range(130)] == expected[start : start + 130]


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(1, 2**36), min_size=1, max_size=6),
    position=st.integers(0, 2**62),
    count=st.integers(0, 300),
)
def test_stretches_join_and_keep_their_proportions(weights, position, count) -> None:
    parts = shares(weights, position, count)
    assert sorted(np.concatenate([p.places for p in parts]).tolist()) == list(range(count))
    for corpus, (here, there) in enumerate(
        zip(parts, shares(weights, position + count, 0), strict=True)
    ):
        assert there.start == here.start + len(here.places)
        # One rounding for each corpus before it, and its own; the same at both ends.
        expected = count * weights[corpus] / sum(weights)
        assert abs(len(here.places) - expected) <= 2 * (corpus + 1)


def test_corpora_weighed_by_size_end_their_epochs_together() -> None:
    order = mixture((10, 30, 5))
    rows, epochs = sequence(order, 9, 10)
    for epoch in range(2):
        part = slice(45 * epoch, 45 * (epoch + 1))
        assert sorted(rows[part]) == list(range(45))
        assert set(epochs[part]) == {epoch}
    assert order.epochs_at(45) == {"c0": 1.0, "c1": 1.0, "c2": 1.0}


def test_each_corpus_runs_through_its_own_epochs_in_its_own_order() -> None:
    order = mixture((10, 30), (3, 1))
    rows, epochs = sequence(order, 8, 10)
    small = rows[rows < 10]
    assert len(small) == 60
    expected = np.concatenate([order.orders[0].permutation(e)(np.arange(10)) for e in range(6)])
    assert small.tolist() == expected.tolist()
    assert epochs[rows < 10].tolist() == np.repeat(np.arange(6), 10).tolist()
    large = rows[rows >= 10] - 10
    assert large.tolist() == order.orders[1].permutation(0)(np.arange(20)).tolist()
    assert order.epochs_at(80) == {"c0": 6.0, "c1": 20 / 30}


@pytest.mark.parametrize("options", [{}, {"two_level": TwoLevel(block_rows=4, window_blocks=2)}])
def test_resume_at_every_step_another_batch_and_every_world_give_one_sequence(options) -> None:
    order = mixture((7, 23, 11), (5, 3, 2), **options)
    whole, _ = sequence(order, 6, 12)
    for step in range(12):
        again, _ = sequence(order, 6, 12 - step, 6 * step)
        assert again.tobytes() == whole[6 * step :].tobytes()
    other, _ = sequence(order, 9, 8)
    assert other.tobytes() == whole.tobytes()
    for world in (1, 2, 3, 7, 9):
        batch = order.batch_rows(12, 6).rows
        parts = [batch[rank_slice(6, rank, world)] for rank in range(world)]
        assert np.concatenate(parts).tobytes() == whole[12:18].tobytes()


def test_state_of_a_large_mixture_is_small_and_refused_elsewhere() -> None:
    ids = tuple(f"{i:064x}" for i in range(40))
    order = mixture((10, 20))
    state = StreamState(
        dataset_ids=ids,
        seed=2**31,
        boundary="run_on",
        epoch=10**9,
        position=2**62,
        global_batch=2**31,
        mode=mixture(range(1, 30), two_level=TwoLevel(block_rows=99999, window_blocks=9999)).mode,
    )
    assert len(state.to_json()) <= MAX_STATE_BYTES
    assert StreamState.from_json(state.to_json()) == state
    ours = dataclasses.replace(state, mode=order.mode, position=30, epoch=1, seed=4)
    fits = {"dataset_ids": ids, "seed": 4, "boundary": "run_on", "num_rows": 30}
    ours.check_fits(**fits, mode=order.mode)
    for other in (mixture((10, 20), (1, 1)), mixture((20, 10)), Order(30, 4)):
        with pytest.raises(UsageError, match="mode is 'full, mixture"):
            ours.check_fits(**fits, mode=other.mode)
    with pytest.raises(UsageError, match="is missing here"):
        ours.check_fits(**{**fits, "dataset_ids": ids[1:]}, mode=order.mode)


def test_golden_sequence_holds() -> None:
    golden = GOLDEN["mixture"]
    rows = mixture(golden["sizes"], golden["weights"], golden["seed"]).batch_rows(1000, 24).rows
    assert rows.tolist() == golden["rows_at_1000"]


def test_huge_mixture_resumes_within_milliseconds() -> None:
    order = mixture((10**12 // 2, 10**12 // 3, 10**9))
    times = []
    for attempt in range(7):
        start = time.perf_counter()
        order.batch_rows(3 * 10**12 + attempt, 256)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005


@pytest.mark.parametrize(
    ("weights", "whole"),
    [
        ((0.7, 0.3), (7, 3)),  # as they are written, not as binary fractions
        ((2, 4, 6), (1, 2, 3)),
        ((1e-3, 1), (1, 1000)),
        ((1 / 3, 1 / 7), (751619276, 322122547)),  # no ratio of small numbers: rounded
    ],
)
def test_weights_become_whole_numbers(weights, whole) -> None:
    assert whole_weights(weights) == whole


@pytest.mark.parametrize(
    ("sizes", "exponent", "weights"),
    [
        ((10, 30, 5), 1, (2, 6, 1)),
        ((10, 30, 5), 0, (1, 1, 1)),
        ((100, 10_000), 0.5, (1, 10)),  # powers that are whole stay exact
        ((10**12, 10**12), 0.37, (1, 1)),
    ],
)
def test_sizes_to_a_power_become_whole_numbers(sizes, exponent, weights) -> None:
    assert size_weights(sizes, exponent) == weights


def test_golden_weights_hold() -> None:
    """Weights that are rounded are part of the order: another last digit is another sequence."""
    assert size_weights((10, 30, 5), 0.5) == (312210707, 540764808, 220766308)
    assert size_weights((10**12, 1), 0.3) == (1073472179, 269644)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=5),
    exponent=st.floats(0, 1, allow_subnormal=False),
)
def test_shares_of_an_epoch_follow_the_power(sizes, exponent) -> None:
    weights = size_weights(sizes, exponent)
    powers = np.asarray(sizes, np.float64) ** exponent  # float64 is right to about 1e-14
    wanted = powers / powers.sum()
    np.testing.assert_allclose(np.divide(weights, sum(weights)), wanted, atol=1e-8)
    count = 1000
    fed = [len(part.places) for part in shares(weights, 0, count)]
    assert sum(fed) == count
    for corpus, (here, share) in enumerate(zip(fed, wanted, strict=True)):
        assert abs(here - count * share) <= 2 * (corpus + 1)


@pytest.mark.parametrize("exponent", [0.0, 0.3, 0.5, 1.0])
def test_powers_keep_epochs_worlds_and_resumption(exponent) -> None:
    sizes, batch = (7, 23, 11), 6
    order = mixture(sizes, size_weights(sizes, exponent))
    whole, _ = sequence(order, batch, 40)
    first = np.concatenate([[0], np.cumsum(sizes)])
    for corpus, size in enumerate(sizes):
        own = whole[(whole >= first[corpus]) & (whole < first[corpus + 1])] - first[corpus]
        assert len(own) >= size
        for start in range(0, len(own) - size + 1, size):  # each of its epochs: every row once
            assert sorted(own[start : start + size]) == list(range(size))
    for step in range(40):
        again = order.batch_rows(batch * step, batch).rows
        assert again.tobytes() == whole[batch * step : batch * (step + 1)].tobytes()
        for world in (1, 2, 3, 7):
            parts = [again[rank_slice(batch, rank, world)] for rank in range(world)]
            assert np.concatenate(parts).tobytes() == again.tobytes()
    for position in (1, 5, 77):  # not on a batch of the first run
        assert (
            order.batch_rows(position, batch).rows.tobytes()
            == whole[position : position + batch].tobytes()
        )


def test_state_of_another_power_is_refused() -> None:
    sizes = (10, 20)
    order = mixture(sizes, size_weights(sizes, 0.5))
    state = StreamState(
        dataset_ids=("a", "b"),
        seed=4,
        boundary="run_on",
        epoch=0,
        position=12,
        global_batch=4,
        mode=order.mode,
    )
    fits = {"dataset_ids": ("a", "b"), "seed": 4, "boundary": "run_on", "num_rows": 30}
    state.check_fits(**fits, mode=order.mode)
    for exponent in (0.0, 0.51, 1.0):
        other = mixture(sizes, size_weights(sizes, exponent))
        with pytest.raises(UsageError, match="mode is 'full, mixture"):
            state.check_fits(**fits, mode=other.mode)


def test_impossible_mixtures_are_refused() -> None:
    with pytest.raises(UsageError, match="must be positive"):
        whole_weights((1, 0))
    with pytest.raises(UsageError, match="one is lost"):
        whole_weights((1e-12, 1.0, 1.234567891234))
    with pytest.raises(UsageError, match="close has no meaning"):
        mixture((3, 4), boundary="close")
    with pytest.raises(UsageError, match="must be positive"):
        size_weights((0, 5), 0.5)
    with pytest.raises(LimbeckError, match="'c1' has 0 rows"):
        mixture((3, 0), (1, 1))
    with pytest.raises(ValueError, match="one name"):
        Mixture((Order(3, 1), Order(4, 1)), (1, 1))
