"""What verify finds beyond a read, and labels against their inputs."""

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records import input_digest, open_dataset, shards_of
from limbeck.records.verify import verify, verify_digests


def write(tools, directory, rows, **changes):
    writer = tools.examples_writer(directory, **changes)
    writer.open()
    tools.write_shards(writer, rows)
    return writer.finish()


def test_all_damaged_shards_are_listed(copies):
    directory = copies / "examples"
    for number in (0, 1):
        path = directory / f"train-0000{number}-of-00002.tfrecord"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    problems = verify(str(directory))
    assert len(problems) == 2
    assert all(f"train-0000{i}-of" in problem for i, problem in enumerate(problems))
    assert verify(str(directory), quick=True) == ()  # sizes and indexes are as they were


def test_all_missing_files_are_listed(copies):
    directory = copies / "examples"
    for number in (0, 1):
        (directory / f"train-0000{number}-of-00002.index").unlink()
    assert [": missing; " in problem for problem in verify(str(directory))] == [True, True]


def test_progress_counts_every_byte(masters):
    counted = []
    assert verify(str(masters / "examples"), progress=counted.append) == ()
    with open_dataset(masters / "examples") as dataset:
        assert sum(counted) == dataset.content.totals["bytes"]


def test_rows_that_no_example_can_have_are_found(tools, tmp_path):
    rows = tools.example_rows(4)
    rows["num_tokens"] = np.full(4, 9, np.uint16)
    write(tools, tmp_path / "x", rows, num_shards=1)
    (problem,) = verify(str(tmp_path / "x"))
    assert "row 0 of the shard: examples: row 0" in problem and "num_tokens is not in" in problem


def test_ids_beyond_the_tokenizers_vocabulary_are_found(tools, tmp_path):
    write(tools, tmp_path / "x", tools.example_rows(4), num_shards=1, tokenizer={"vocab_size": 5})
    (problem,) = verify(str(tmp_path / "x"))
    assert "an id is not below 5" in problem


def test_lengths_that_are_not_the_rows_are_found(tools, tmp_path):
    writer = tools.examples_writer(tmp_path / "x", num_shards=1)
    writer.open()
    writer.write_shard(0, tools.example_rows(4), lengths=[1, 1, 1, 1])
    writer.finish()
    (problem,) = verify(str(tmp_path / "x"))
    assert "num_tokens and the index's lengths differ" in problem


def test_labels_with_their_inputs_are_good(masters):
    with open_dataset(masters / "examples") as examples, open_dataset(masters / "labels") as labels:
        verify_digests(examples, labels)


@pytest.mark.parametrize("with_positions", [True, False])
def test_label_of_another_input_is_found_by_its_digest(tools, masters, tmp_path, with_positions):
    labels_layout = open_dataset(masters / "labels").layout
    with open_dataset(masters / "examples") as examples, open_dataset(masters / "other") as other:
        inputs = other.read(np.arange(12))
        parts = [inputs["ids"], inputs["num_tokens"], inputs["segment_split"]]
        if with_positions:
            parts += [inputs["mask_positions"], inputs["num_masked"]]
        rows = {
            "key": inputs["key"],
            "digest": input_digest(*parts),
            "num_positions": inputs["num_masked"],
            "states": np.zeros((12, 3, 2), np.float16),
        }
        for name, source in (("good", other), ("bad", examples)):
            parents = {"examples": source.id}
            write(
                tools, tmp_path / name, rows, kind="labels", layout=labels_layout, parents=parents
            )
            with open_dataset(tmp_path / name) as family:
                if name == "good":
                    verify_digests(other, family)
                    continue
                with pytest.raises(LimbeckError, match="row 0: digest .*belongs to another input"):
                    verify_digests(examples, family)
                with pytest.raises(UsageError, match="does not go with"):
                    verify_digests(other, family)
    assert len(shards_of(rows["key"], 2)) == 12
