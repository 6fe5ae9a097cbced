import threading

import numpy as np
import pytest

from limbeck.config import LimbeckError
from limbeck.order import Order
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from train.families import open_family
from train.stream import Source, Stream, row_lengths

V = 50
GROUPS = ("masked", "all")


def make_source(toy, *, world=None, global_batch=7, micro_batch=None, boundary="run_on"):
    examples = open_dataset(toy.root / "examples", kind="examples")
    families = {
        name: open_family(name, str(toy.root / name), examples, vocab_size=V)
        for name in ("top", "states")
    }
    return Source(
        examples=examples,
        families=families,
        order=Order(examples.num_rows, 3, boundary),
        global_batch=global_batch,
        world=world or World(),
        micro_batch=micro_batch,
        groups=GROUPS,
        vocab_size=V,
    )


def batches(source, *, num_batches=8, position=0, **options):
    with Stream(source, position=position, num_batches=num_batches, **options) as stream:
        return list(stream)


def values(batch, group, field):
    """All real entries of a field of a rank's batch."""
    return np.concatenate([field(m)[m["items"][group]["valid"]] for m in batch.micro])


FIELDS = (
    ("masked", lambda m: m["true_ids"]),
    ("masked", lambda m: m["teacher"]["top"]["logits"]),
    ("all", lambda m: m["teacher"]["states"]["states"]),
    ("all", lambda m: m["ids"].reshape(-1)[m["items"]["all"]["index"]]),
)


@pytest.mark.parametrize(
    ("size", "micro_batch"),
    [
        (2, None),
        (3, 1),
        (3, 2),
        (7, None),
        (9, None),  # more ranks than rows: some feed nothing
    ],
)
def test_ranks_together_feed_the_same_batches_as_one(shared_toy, size, micro_batch):
    whole = batches(make_source(shared_toy))
    parts = [
        batches(make_source(shared_toy, world=World(rank=rank, size=size), micro_batch=micro_batch))
        for rank in range(size)
    ]
    for number, batch in enumerate(whole):
        slices = [part[number] for part in parts]
        np.testing.assert_array_equal(batch.keys, np.concatenate([s.keys for s in slices]))
        assert batch.num_tokens == sum(s.num_tokens for s in slices)
        assert {s.length for s in slices} == {batch.length}
        assert len({m["ids"].shape for s in slices for m in s.micro}) == 1
        assert {s.next_position for s in slices} == {batch.next_position}
        for group in GROUPS:
            assert batch.items[group] == sum(s.items[group] for s in slices)
        for group, field in FIELDS:
            expected = values(batch, group, field)
            got = np.concatenate([values(s, group, field) for s in slices])
            np.testing.assert_array_equal(expected, got)


def test_stream_goes_on_from_a_position_as_if_it_had_not_stopped(shared_toy):
    whole = batches(make_source(shared_toy), num_batches=9)
    rest = batches(make_source(shared_toy), num_batches=5, position=whole[3].next_position)
    for a, b in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(a.keys, b.keys)
        np.testing.assert_array_equal(a.micro[0]["ids"], b.micro[0]["ids"])


def test_every_row_is_fed_once_an_epoch(shared_toy):
    source = make_source(shared_toy)
    fed = np.concatenate([b.rows for b in batches(source, num_batches=12)])[:80]
    for epoch in (fed[:40], fed[40:]):
        assert sorted(epoch.tolist()) == list(range(40))


def test_closed_epochs_end_with_a_short_batch_of_the_same_shape(shared_toy):
    fed = batches(make_source(shared_toy, boundary="close"), num_batches=6)
    assert [len(b.rows) for b in fed] == [7, 7, 7, 7, 7, 5]
    assert {m["ids"].shape[0] for b in fed for m in b.micro} == {7}
    assert fed[-1].next_position == 40


def test_batches_come_in_order_whichever_thread_is_faster(shared_toy):
    turn = threading.Event()

    def slow_first(batch):
        # The first batch waits until another one has been prepared.
        if batch.position == 0:
            assert turn.wait(10)
        else:
            turn.set()
        return batch.position

    positions = batches(make_source(shared_toy), num_batches=5, prepare=slow_first)
    assert positions == [0, 7, 14, 21, 28]


def test_reading_ahead_is_bounded(shared_toy):
    prepared = []

    def note(batch):
        prepared.append(batch.position)
        return batch

    with Stream(
        make_source(shared_toy), position=0, num_batches=50, prepare=note, depth=3
    ) as stream:
        for number, _ in enumerate(stream):
            # This one, and at most three ahead of it.
            assert len(prepared) <= number + 4
            if number == 5:
                break


def test_first_error_in_the_order_of_the_data_wins_and_ends_the_stream(shared_toy):
    def fail(batch):
        if batch.position in (14, 21):
            raise LimbeckError(f"position {batch.position}")
        return batch.position

    seen = []
    before = threading.active_count()
    with (
        pytest.raises(LimbeckError, match="position 14"),
        Stream(make_source(shared_toy), position=0, num_batches=9, prepare=fail) as stream,
    ):
        for position in stream:
            seen.append(position)
    assert seen == [0, 7]
    assert threading.active_count() == before


def test_leaving_early_leaves_no_thread(shared_toy):
    before = threading.active_count()
    with Stream(make_source(shared_toy), position=0, num_batches=1000) as stream:
        next(iter(stream))
    assert threading.active_count() == before


@pytest.mark.faults
def test_damaged_record_is_named_and_not_fed(toy):
    toy.all_families()
    source = make_source(toy)
    shard = source.families["top"].dataset.content.shards[1]
    path = toy.root / "top" / shard.name
    data = bytearray(path.read_bytes())
    data[-30] ^= 4
    path.write_bytes(data)
    with pytest.raises(LimbeckError, match="top"):
        batches(source, num_batches=6)


def test_labels_of_another_masking_are_refused_row_by_row(toy):
    toy.examples()

    def other_masking(fields):
        fields["digest"][20:] ^= 1

    toy.sparse(toy.root / "examples", spoil=other_masking)
    toy.hidden(toy.root / "examples")
    with pytest.raises(LimbeckError, match="another digest"):
        batches(make_source(toy), num_batches=6)


def test_lengths_of_chosen_rows_come_from_the_index(shared_toy):
    examples = open_dataset(shared_toy.root / "examples")
    rows = np.array([39, 0, 17, 17])
    np.testing.assert_array_equal(row_lengths(examples, rows), examples.lengths()[rows])


def test_state_names_position_and_data(shared_toy):
    source = make_source(shared_toy)
    state = source.state(47)
    assert (state.position, state.epoch, state.global_batch) == (47, 1, 7)
    assert len(state.dataset_ids) == 3
    state.check_fits(dataset_ids=source.dataset_ids, seed=3, boundary="run_on", num_rows=40)
