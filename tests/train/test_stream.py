import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError
from limbeck.order import Order, StreamState, TwoLevel
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from limbeck.records.errors import CorruptRecord
from limbeck.records.mapped import map_files
from train.reading.families import open_family
from train.reading.mixture import Corpora, CorpusInputs
from train.stream import Source, Stream

V = 50
GROUPS = ("masked", "all")
TWO_LEVEL = TwoLevel(block_rows=8, window_blocks=4)
ROOT = Path(__file__).resolve().parents[2]
READERS = Path(__file__).with_name("reader_chain.py")


def make_source(
    toy, *, world=None, global_batch=7, micro_batch=None, boundary="run_on", two_level=None
):
    examples = open_dataset(toy.root / "examples", kind="examples")
    families = {
        name: open_family(name, str(toy.root / name), examples, vocab_size=V)
        for name in ("top", "states")
    }
    return Source(
        corpora=Corpora((CorpusInputs(name="", examples=examples, families=families),)),
        order=Order(examples.num_rows, 3, boundary, two_level=two_level),
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
    ("masked", lambda m: m["labels"]["masked"]),
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
    shard = source.corpora.parts[0].families["top"].dataset.content.shards[1]
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
    corpora = make_source(shared_toy).corpora
    rows = np.array([39, 0, 17, 17])
    expected = corpora.parts[0].examples.lengths()[rows]
    np.testing.assert_array_equal(corpora.lengths(rows), expected)


def test_state_names_position_and_data(shared_toy):
    source = make_source(shared_toy)
    state = source.state(47)
    assert (state.position, state.epoch, state.global_batch) == (47, 1, 7)
    assert len(state.dataset_ids) == 3
    source.check_state(state)
    with pytest.raises(UsageError, match="mode is 'full' in the checkpoint and 'two_level 8x4'"):
        make_source(shared_toy, two_level=TWO_LEVEL).check_state(state)


def fed_bytes(batches_):
    """Everything that these batches feed, as bytes."""
    out = b""
    for batch in batches_:
        out += batch.keys.tobytes()
        for group, field in FIELDS:
            out += np.ascontiguousarray(values(batch, group, field)).tobytes()
    return out


@pytest.mark.parametrize(("threads", "depth"), [(1, 0), (1, 1), (2, 64), (16, 5)])
def test_bytes_do_not_depend_on_threads_or_prefetch(shared_toy, threads, depth):
    whole = fed_bytes(batches(make_source(shared_toy), threads=1, depth=1))
    again = batches(make_source(shared_toy), threads=threads, depth=depth)
    assert fed_bytes(again) == whole
    with pytest.raises(ValueError, match="threads is 0"):
        Stream(make_source(shared_toy), position=0, num_batches=1, threads=0)


def test_mapped_files_give_the_same_bytes_and_the_same_checks(toy):
    toy.all_families()
    source = make_source(toy)
    whole = fed_bytes(batches(source))
    part = source.corpora.parts[0]
    for dataset in (part.examples, *(family.dataset for family in part.families.values())):
        map_files(dataset)
    assert fed_bytes(batches(source)) == whole
    place = part.examples.place(int(source.global_rows(14).rows[3]))
    with open(place.path, "r+b") as file:
        file.seek(place.offset + 40)
        file.write(b"\xff\xfe")
    with pytest.raises(CorruptRecord, match=f"byte {place.offset}"):
        batches(source)
    part.examples.close()


@pytest.mark.parametrize(
    ("boundary", "two_level"), [("run_on", None), ("close", None), ("run_on", TWO_LEVEL)]
)
def test_resume_at_every_step_with_other_ranks_and_another_batch(shared_toy, boundary, two_level):
    """Step 0, each step of the epoch, its last batch, its end, and the next epoch; as sequences."""
    options = {"boundary": boundary, "two_level": two_level}
    source = make_source(shared_toy, **options)
    whole = batches(source, num_batches=9)
    keys = [batch.keys.tobytes() for batch in whole]
    for step in (0, 1, 3, 5, 6, 8) if two_level else range(len(whole)):
        state = StreamState.from_json(source.state(whole[step].position).to_json())
        ranks = [dataclasses.replace(source, world=World(rank=rank, size=3)) for rank in range(3)]
        ranks[0].check_state(state)
        parts = [
            batches(rank, position=state.position, num_batches=len(whole) - step) for rank in ranks
        ]
        together = [b"".join(p[i].keys.tobytes() for p in parts) for i in range(len(whole) - step)]
        assert together == keys[step:]
        # With a batch of 5 the same rows follow each other, cut at other places.
        other = dataclasses.replace(source, global_batch=5)
        fed = [b.keys.tobytes() for b in batches(other, position=state.position, num_batches=6)]
        rest, fed = b"".join(keys[step:]), b"".join(fed)
        size = min(len(rest), len(fed))
        assert fed[:size] == rest[:size]


PRIMES = [2, 3, 5, 7, 11, 13, 17, 31, 127]


@pytest.mark.parametrize(
    "sizes", [PRIMES, pytest.param(range(1, 129), marks=pytest.mark.slow)], ids=["primes", "all"]
)
def test_every_world_size_feeds_the_same_bytes(shared_toy, sizes):
    whole = make_source(shared_toy, global_batch=19)
    batch = whole.global_rows(30)  # across the end of an epoch
    expected = whole.read(batch).keys.tobytes()
    for size in sizes:
        ranks = [dataclasses.replace(whole, world=World(rank=r, size=size)) for r in range(size)]
        assert b"".join(rank.read(batch).keys.tobytes() for rank in ranks) == expected


PROGRAM = """
import hashlib, sys
import numpy as np
from limbeck.config import yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.recipe import Recipe
from train.stream import Stream
inputs = open_inputs(yaml_file.load(sys.argv[1], Recipe))
source = inputs.source(World(), ("masked", "all"))
digest = hashlib.sha256()
with Stream(source, position=0, num_batches=6) as stream:
    for batch in stream:
        digest.update(batch.keys.tobytes() + batch.micro[0]["ids"].tobytes())
        digest.update(batch.micro[0]["teacher"]["top"]["logits"].tobytes())
print(digest.hexdigest(), "tensorflow" in sys.modules)
"""


def test_bytes_do_not_depend_on_hash_seed_locale_or_time_zone(shared_toy):
    recipe = shared_toy.write(shared_toy.distil(), "stream.yaml")
    found = set()
    for hash_seed, locale, zone in (("0", "C", "UTC"), ("12345", "C.UTF-8", "Asia/Tokyo")):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "LC_ALL": locale, "TZ": zone}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, recipe],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    (one,) = found
    assert one.split()[1] == "False"  # a reader needs no TensorFlow


def test_reading_leaves_no_file_open_and_no_thread(shared_toy):
    source = make_source(shared_toy)
    batches(source)
    before = len(os.listdir("/dev/fd")), threading.active_count()
    for _ in range(5):
        batches(source, threads=4, depth=8)
    assert (len(os.listdir("/dev/fd")), threading.active_count()) == before


@pytest.mark.faults
@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_chain_of_killed_readers_feeds_what_one_feeds(shared_toy, tmp_path, kills):
    """1, 3, 7, 2 and 8 ranks, round after round, each SIGKILLed at a random moment."""
    done = subprocess.run(
        [sys.executable, READERS, shared_toy.root / "examples", tmp_path, str(kills)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == kills
    assert result["worlds"] == [1, 2, 3, 7, 8]
    assert result["proved"] == result["steps"]
    whole, chain = (tmp_path / name / "ledger.jsonl" for name in ("whole", "chain"))
    assert chain.read_bytes() == whole.read_bytes()
