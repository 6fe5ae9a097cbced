"""Damaged records that are left out: nothing else moves, all are counted, too many end the run."""

import json

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.ledger import Ledger
from train.reading.quarantine import Quarantine
from train.recipe import Recipe

pytestmark = pytest.mark.faults


def damage(directory, dataset, row):
    """Flips a bit of the record."""
    place = dataset.place(row)
    with open(place.path, "r+b") as file:
        file.seek(place.offset + place.size - 9)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 8]))


def opened(toy, **data):
    plain = toy.distil()
    plain["data"] = {**plain["data"], **data}
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


def read_all(inputs, *, world=None, num_batches=6):
    source = inputs.source(world or World(), ("masked", "all"))
    return [source.read(source.global_rows(7 * number)) for number in range(num_batches)]


def test_damaged_row_has_weight_0_and_no_other_row_moves(toy, tmp_path):
    toy.all_families()
    sound = read_all(opened(toy))
    inputs = opened(toy, on_bad_record="quarantine")
    part = inputs.corpora.parts[0]
    in_examples, in_labels = int(sound[1].rows[2]), int(sound[3].rows[5])
    damage(toy.root, part.examples, in_examples)
    damage(toy.root, part.families["top"].dataset, in_labels)
    for size in (1, 3, 9):
        ranks = [read_all(inputs, world=World(rank=r, size=size)) for r in range(size)]
        for number, whole in enumerate(sound):
            batches = [rank[number] for rank in ranks]
            keys = np.concatenate([b.keys for b in batches])
            np.testing.assert_array_equal(keys, whole.keys)
            bad = [row for b in batches for row in b.bad]
            gone = {1: [2], 3: [5]}.get(number, [])
            assert [row.key for row in bad] == [whole.keys[i].tobytes().hex() for i in gone]
            kept = np.delete(np.arange(7), gone)
            tokens = part.examples.lengths()[whole.rows[kept]].sum()
            assert sum(b.num_tokens for b in batches) == tokens
            assert sum(b.items["all"] for b in batches) == tokens
            if size == 1:
                ids = batches[0].micro[0]["ids"]
                np.testing.assert_array_equal(ids[kept], whole.micro[0]["ids"][kept])
    source = inputs.source(World(), ("masked", "all"))
    ledger = Ledger(tmp_path / "ledger.jsonl", source, World(), last_step=-1)
    ledger.verify(source.read(source.global_rows(7)), step=2)  # the order is as it was
    with pytest.raises(LimbeckError, match="top"):
        read_all(opened(toy))


def test_batch_without_a_sound_row_is_named(toy):
    toy.all_families()
    inputs = opened(toy, on_bad_record="quarantine")
    source = inputs.source(World(), ("masked", "all"))
    for row in source.global_rows(0).rows.tolist():
        damage(toy.root, inputs.examples, row)
    with pytest.raises(LimbeckError, match="every row of the batch at position 0 is damaged"):
        source.read(source.global_rows(0))


def test_rows_are_written_down_and_too_many_end_the_run(toy, tmp_path):
    toy.all_families()
    inputs = opened(toy, on_bad_record="quarantine", max_quarantined=0.1)
    source = inputs.source(World(), ("masked", "all"))
    for place in (7, 8, 14):
        damage(toy.root, inputs.examples, int(source.global_rows(place).rows[0]))
    path = tmp_path / "quarantine.jsonl"
    notes = Quarantine(path, World(), limit=0.1, last_step=-1)
    bad = [source.read(source.global_rows(7 * step)).bad for step in range(3)]
    assert notes.note(bad[0], step=1, rows_fed=7) == 0 and not path.exists()
    with pytest.raises(LimbeckError, match=r"step 2: 2 of 14 rows .*max_quarantined = 0.1 allows"):
        notes.note(bad[1], step=2, rows_fed=14)
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 2]
    assert "payload CRC" in lines[0]["reason"] and lines[0]["path"].endswith(".tfrecord")
    # Resumed after step 1, the same rows are not counted twice; with a larger share it goes on.
    notes = Quarantine(path, World(), limit=0.3, last_step=1)
    assert notes.num_rows == 0
    assert notes.note(bad[1], step=2, rows_fed=14) == 2
    assert notes.note(bad[2], step=3, rows_fed=21) == 1
    assert notes.num_rows == 3


def test_limit_without_quarantine_is_refused(toy):
    toy.all_families()
    with pytest.raises(UsageError, match="max_quarantined has no effect"):
        opened(toy, max_quarantined=0.1)
