"""Global batches: one sequence for every world size, exactly once, resumable anywhere."""

import time

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order import Order, padded_size, rank_slice

WORLD_SIZES = range(1, 129)


def batches(
    order: Order, global_batch: int, num_batches: int, position: int = 0
) -> list[np.ndarray]:
    out = []
    for _ in range(num_batches):
        batch = order.batch_rows(position, global_batch)
        position = batch.next_position
        out.append(batch.rows)
    return out


@pytest.mark.parametrize("boundary", ["run_on", "close"])
@pytest.mark.parametrize("global_batch", [1, 7, 32])
@pytest.mark.parametrize("num_rows", [1, 6, 7, 8, 33, 101])
def test_ranks_together_feed_the_same_bytes_for_every_world_size(
    num_rows: int, global_batch: int, boundary: str
) -> None:
    order = Order(num_rows, 3, boundary)
    for batch in batches(order, global_batch, 4):
        for world_size in WORLD_SIZES:
            parts = [batch[rank_slice(len(batch), r, world_size)] for r in range(world_size)]
            assert b"".join(part.tobytes() for part in parts) == batch.tobytes()
            assert max(map(len, parts)) == padded_size(len(batch), world_size)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("num_rows", "rank", "world_size", "expected"),
    [
        (10, 0, 3, slice(0, 3)),
        (10, 2, 3, slice(6, 10)),  # the last rank gets the extra row
        (2, 0, 4, slice(0, 0)),  # more ranks than rows: some are idle
        (2, 1, 4, slice(0, 1)),
        (0, 0, 2, slice(0, 0)),
    ],
)
def test_rank_slice_is_the_stated_arithmetic(
    num_rows: int, rank: int, world_size: int, expected: slice
) -> None:
    assert rank_slice(num_rows, rank, world_size) == expected


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0)])
def test_rank_outside_the_world_is_refused(rank: int, world_size: int) -> None:
    with pytest.raises(ValueError, match="rank is"):
        rank_slice(4, rank, world_size)


@pytest.mark.parametrize("global_batch", [1, 3, 10, 11, 12, 23, 40])
def test_run_on_feeds_every_row_once_an_epoch_whatever_the_batch(global_batch: int) -> None:
    order, num_rows, epochs = Order(11, 9, "run_on"), 11, 5
    fed = np.concatenate(batches(order, global_batch, -(-num_rows * epochs // global_batch)))
    for epoch in range(epochs):
        rows = fed[epoch * num_rows : (epoch + 1) * num_rows]
        assert sorted(rows) == list(range(num_rows))
        assert rows.tolist() == order.permutation(epoch)(np.arange(num_rows)).tolist()


@pytest.mark.parametrize("global_batch", [1, 3, 10, 11, 12])
def test_close_ends_each_epoch_with_a_short_batch(global_batch: int) -> None:
    order = Order(11, 9, "close")
    position = 0
    for epoch in range(3):
        rows: list[int] = []
        while position < 11 * (epoch + 1):
            batch = order.batch_rows(position, global_batch)
            assert set(batch.epochs) == {epoch}
            assert len(batch.rows) == min(global_batch, 11 - len(rows))
            rows += batch.rows.tolist()
            position = batch.next_position
        assert position == 11 * (epoch + 1)
        assert sorted(rows) == list(range(11))


@pytest.mark.parametrize("boundary", ["run_on", "close"])
def test_resume_at_every_step_goes_on_with_the_same_sequence(boundary: str) -> None:
    order = Order(23, 1, boundary)
    position, starts, whole = 0, [], []
    for _ in range(17):
        starts.append(position)
        batch = order.batch_rows(position, 4)
        whole.append(batch.rows.tobytes())
        position = batch.next_position
    for step, start in enumerate(starts):
        resumed = batches(Order(23, 1, boundary), 4, len(whole) - step, start)
        assert [rows.tobytes() for rows in resumed] == whole[step:]


@pytest.mark.parametrize("boundary", ["run_on", "close"])
def test_batch_size_may_change_in_the_middle_of_an_epoch(boundary: str) -> None:
    order = Order(29, 2, boundary)
    first = order.batch_rows(0, 8)
    rest = []
    position = first.next_position
    while position < 29:
        batch = order.batch_rows(position, 5)
        rest.append(batch.rows)
        position = batch.next_position
    fed = np.concatenate([first.rows, *rest])[:29]
    assert fed.tolist() == order.permutation(0)(np.arange(29)).tolist()


def test_batch_over_several_epochs_names_the_epoch_of_each_row() -> None:
    batch = Order(3, 0).batch_rows(2, 6)
    assert batch.positions.tolist() == [2, 3, 4, 5, 6, 7]
    assert batch.epochs.tolist() == [0, 1, 1, 1, 2, 2]
    assert sorted(batch.rows[1:4]) == [0, 1, 2]
    assert batch.next_position == 8
    assert Order(3, 0).epoch_of(batch.next_position) == 2


@pytest.mark.parametrize("num_rows", [10**6, 10**9, 10**12, 2**40 + 3])
def test_first_batch_after_a_resume_takes_milliseconds(num_rows: int) -> None:
    times = []
    for attempt in range(5):
        start = time.perf_counter()
        batch = Order(num_rows, 4).batch_rows(3 * num_rows - 100 + attempt, 256)
        times.append(time.perf_counter() - start)
        assert set(batch.epochs) == {2, 3}
        assert batch.rows.min() >= 0
        assert batch.rows.max() < num_rows
    assert min(times) < 0.005


def test_impossible_requests_are_refused_with_their_values() -> None:
    with pytest.raises(LimbeckError, match="0 rows"):
        Order(0, 1).batch_rows(0, 4)
    with pytest.raises(ValueError, match="position is -1"):
        Order(4, 1).batch_rows(-1, 4)
    with pytest.raises(ValueError, match="global_batch is 0"):
        Order(4, 1).batch_rows(0, 0)
    with pytest.raises(LimbeckError, match="64 bits"):
        Order(4, 1).batch_rows(2**63 - 2, 4)
    with pytest.raises(UsageError, match="num_rows is -1"):
        Order(-1, 0)
    with pytest.raises(UsageError, match="'sometimes'"):
        Order(4, 0, "sometimes")  # type: ignore[arg-type]
