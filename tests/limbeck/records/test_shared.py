"""Several processes that fill one directory, perhaps with the same shard at once."""

import os

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records import open_dataset, shards_of
from limbeck.records.files import temporary_name
from limbeck.records.manifest import MANIFEST, ShardSummary

JSON = "train-00001-of-00002.json"


@pytest.fixture
def shared(tools, tmp_path):
    writer = tools.examples_writer(tmp_path / "out", shared=True)
    writer.open()
    return writer


def test_files_in_the_making_of_others_are_left_alone(tools, shared, tmp_path):
    mine = tmp_path / "out" / temporary_name(JSON)
    mine.write_bytes(b"half")
    tools.write_shards(shared, tools.example_rows(12))
    assert sorted(shared.done_shards()) == [0, 1]
    with pytest.raises(LimbeckError, match="no manifest"):
        open_dataset(tmp_path / "out")
    assert mine.exists()
    manifest = shared.finish()
    assert not mine.exists()  # now that every shard is there
    with open_dataset(tmp_path / "out") as dataset:
        assert dataset.id == manifest.id


def test_writing_what_another_has_completed_returns_what_is_there(tools, shared):
    rows = tools.example_rows(12)
    tools.write_shards(shared, rows)
    shared.finish()
    mine = {name: values[shards_of(rows["key"], 2) == 1] for name, values in rows.items()}
    summary = shared.write_shard(1, mine, lengths=mine["num_tokens"])
    assert isinstance(summary, ShardSummary) and summary == shared.done_shards()[1]


def test_file_that_is_cleared_away_by_a_faster_process_is_no_error(tools, shared, monkeypatch):
    rows = tools.example_rows(12)
    tools.write_shards(shared, rows)
    mine = {name: values[shards_of(rows["key"], 2) == 1] for name, values in rows.items()}
    replace = os.replace

    def replaced(source, target):
        monkeypatch.setattr(os, "replace", replace)
        shared.finish()
        shared.remove_leftovers()
        replace(source, target)

    expected = shared.done_shards()[1]
    monkeypatch.setattr(os, "replace", replaced)
    assert shared.write_shard(1, mine) == expected
    assert os.replace is replace  # the file was in the making when it was cleared away


def test_damaged_shard_is_done_for_nobody(tools, shared, tmp_path, caplog):
    tools.write_shards(shared, tools.example_rows(12))
    path = tmp_path / "out" / "train-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert sorted(shared.done_shards((0, 2))) == [0, 1]  # not in this worker's share
    assert shared.has_shard(1)
    assert sorted(shared.done_shards((1, 2))) == [0]
    assert "will be written again" in caplog.text
    assert not shared.has_shard(1)
    with pytest.raises(LimbeckError, match="first shard 1"):
        shared.finish()


def test_leftover_in_a_complete_directory_is_nothing_to_a_worker(tools, shared, tmp_path):
    tools.write_shards(shared, tools.example_rows(12))
    shared.finish()
    late = tmp_path / "out" / temporary_name(JSON)
    late.write_bytes(b"half")  # by one that was killed while it did a shard once more
    with pytest.raises(LimbeckError, match="left by a killed process"):
        open_dataset(tmp_path / "out")
    assert shared.finished() is not None and late.exists()
    alone = tools.examples_writer(tmp_path / "out")
    assert alone.finished() is not None and not late.exists()


def test_both_of_two_finishers_have_the_manifest(tools, shared, tmp_path):
    tools.write_shards(shared, tools.example_rows(12))
    first = shared.finish()
    again = tools.examples_writer(tmp_path / "out", shared=True).finish()
    assert first.id == again.id and (tmp_path / "out" / MANIFEST).exists()
    with open_dataset(tmp_path / "out") as dataset:
        assert np.array_equal(dataset.read([0])["key"], dataset.keys([0]))
