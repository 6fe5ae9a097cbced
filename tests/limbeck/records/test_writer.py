"""Writing: same rows, same bytes; resume; other jobs and foreign files refused."""

import dataclasses
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records import shards_of, sorted_rows
from limbeck.records.layout import KEY, Layout
from limbeck.records.manifest import MANIFEST
from limbeck.records.writer import DatasetWriter

ROOT = Path(__file__).resolve().parents[3]
DATA = "train-00000-of-00002.tfrecord"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def write_one(task) -> None:
    """Writes one shard in a worker process."""
    writer, index, rows = task
    writer.write_shard(index, rows, lengths=rows["num_tokens"])


def test_same_rows_in_any_order_give_the_same_bytes(tools, masters, tmp_path):
    rows = tools.example_rows(12)
    order = np.random.default_rng(3).permutation(12)
    writer = tools.examples_writer(tmp_path / "x")
    writer.open()
    shuffled = {name: values[order] for name, values in rows.items()}
    tools.write_shards(writer, shuffled, indices=[1, 0])
    writer.finish(accounting={"kept": 12, "in": 12}, provenance=tools.provenance)
    assert contents(tmp_path / "x") == contents(masters / "examples")


def test_rows_as_records_give_the_same_bytes(tools, tmp_path, masters):
    rows = tools.example_rows(12)
    shards = shards_of(rows["key"], 2)
    writer = tools.examples_writer(tmp_path / "x")
    writer.open()
    for index in range(2):
        numbers = np.flatnonzero(shards == index)
        records = [{name: values[i] for name, values in rows.items()} for i in numbers]
        writer.write_shard(index, records, lengths=rows["num_tokens"][numbers])
    for part in ("tfrecord", "index"):
        name = f"train-00001-of-00002.{part}"
        assert (tmp_path / "x" / name).read_bytes() == (masters / "examples" / name).read_bytes()


def test_any_number_of_worker_processes_gives_the_same_bytes(tools, tmp_path):
    rows, num_shards = tools.example_rows(64), 8
    shards = shards_of(rows["key"], num_shards)
    parts = [{name: v[shards == i] for name, v in rows.items()} for i in range(num_shards)]
    for workers in (1, 3):
        writer = tools.examples_writer(tmp_path / str(workers), num_shards=num_shards)
        writer.open()
        tasks = [(writer, index, part) for index, part in enumerate(parts)]
        # A forked child of a process with threads may hang; spawned ones import this file anew.
        with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
            list(pool.map(write_one, reversed(tasks)))
        writer.finish(provenance=tools.provenance)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_small_chunks_give_the_same_bytes(tools, masters, tmp_path, monkeypatch):
    monkeypatch.setattr(sorted_rows, "CHUNK_BYTES", 300)
    tools.write_examples(tmp_path / "x")
    assert contents(tmp_path / "x") == contents(masters / "examples")


def test_attempt_repeated_changes_nothing(tools, tmp_path):
    writer = tools.examples_writer(tmp_path)
    writer.open()
    tools.write_shards(writer, tools.example_rows(12))
    before = contents(tmp_path)
    tools.write_shards(writer, tools.example_rows(12), indices=[0])
    assert contents(tmp_path) == before


def test_writer_can_be_pickled(tools, tmp_path):
    writer = tools.examples_writer(tmp_path)
    copy = pickle.loads(pickle.dumps(writer))
    assert copy == writer and copy.job.fingerprint == writer.job.fingerprint


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (
            {"settings": {"rate": 0.2, "grid": [1, 2, 4]}},
            "settings.rate is 0.15 there and 0.2 here",
        ),
        ({"settings": {}}, "settings.grid is [1, 2, 4] there and missing here; settings.rate is"),
        ({"name": "heldout"}, "name is train there and heldout here"),
        ({"kind": "documents"}, "kind is examples there and documents here"),
        ({"num_shards": 3}, "num_shards is 2 there and 3 here"),
        ({"seed": 8}, "seed is 7 there and 8 here"),
        ({"seed": None}, "seed is 7 there and null here"),
        ({"parents": {}}, "parents.documents is 1111"),
        ({"tokenizer": None}, "there and null here"),
        ({"teacher": {"fingerprint": "a"}}, "teacher is null there and"),
    ],
)
@pytest.mark.parametrize("state", ["started", "finished", "finished, job.json lost"])
def test_another_jobs_directory_is_refused_with_what_differs(
    tools, copies, changes, difference, state
):
    directory = copies / "examples"
    if state == "started":
        (directory / MANIFEST).unlink()
    if state == "finished, job.json lost":
        (directory / "job.json").unlink()
    before = contents(directory)
    writer = tools.examples_writer(directory, **changes)
    with pytest.raises(UsageError) as found:
        writer.open()
    message = str(found.value)
    assert message.startswith(f"{directory} holds another run's output: ")
    assert difference in message
    assert message.endswith("; choose another --out or delete it")
    assert contents(directory) == before


def test_another_layout_is_refused_naming_the_field(tools, copies):
    from limbeck.records import examples_layout

    layout = examples_layout(seq_length=9, max_predictions=3, vocab_size=100)
    with pytest.raises(UsageError, match=r"layout.1 ids.shape is \[8\] there and \[9\] here"):
        tools.examples_writer(copies / "examples", layout=layout).open()


def test_lost_job_file_is_written_again(tools, copies, masters):
    (copies / "examples" / "job.json").unlink()
    tools.examples_writer(copies / "examples").open()
    assert contents(copies / "examples") == contents(masters / "examples")


@pytest.mark.parametrize("name", ["notes.txt", "pages-00000-of-00002.tfrecord", "sub"])
def test_foreign_file_is_named_and_refused(tools, tmp_path, name):
    (tmp_path / name).mkdir() if name == "sub" else (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"not this dataset's: {name}"):
        tools.examples_writer(tmp_path).open()
    assert os.listdir(tmp_path) == [name]


def test_shards_of_an_unknown_job_are_refused(tools, copies):
    (copies / "examples" / MANIFEST).unlink()
    (copies / "examples" / "job.json").unlink()
    with pytest.raises(UsageError, match="holds shards and no job.json"):
        tools.examples_writer(copies / "examples").open()


def test_damaged_job_file_is_refused(tools, copies):
    path = copies / "examples" / "job.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UsageError, match="job.json: .*choose another --out or delete"):
        tools.examples_writer(copies / "examples").open()


def test_file_in_place_of_the_directory_is_refused(tools, tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="is a file, not a directory"):
        tools.examples_writer(tmp_path / "x").open()


def test_foreign_file_that_appears_later_stops_the_manifest(tools, tmp_path):
    writer = tools.examples_writer(tmp_path)
    writer.open()
    tools.write_shards(writer, tools.example_rows(12))
    (tmp_path / "train-00000-of-00004.tfrecord").touch()
    with pytest.raises(LimbeckError, match="of another run, with 4 shards; ours has 2"):
        writer.finish()
    assert not (tmp_path / MANIFEST).exists()


def test_finished_dataset_is_left_alone(tools, copies):
    writer = tools.examples_writer(copies / "examples")
    writer.open()
    before = contents(copies / "examples")
    with pytest.raises(LimbeckError, match="complete already"):
        tools.write_shards(writer, tools.example_rows(12))
    assert writer.finish(accounting={"in": 12, "kept": 12}).id == writer.finished().id
    with pytest.raises(LimbeckError, match="accounting.in is 12 there and 13 here"):
        writer.finish(accounting={"in": 13, "kept": 12})
    assert contents(copies / "examples") == before


def test_finished_dataset_that_is_damaged_is_not_called_complete(tools, copies):
    os.truncate(copies / "examples" / DATA, 10)
    with pytest.raises(LimbeckError, match="cut short: expected"):
        tools.examples_writer(copies / "examples").finished()


def test_manifest_of_another_run_is_not_called_complete(tools, copies, tmp_path):
    tools.write_examples(tmp_path / "x", seed=1, settings={})
    shutil.copy(tmp_path / "x" / MANIFEST, copies / "examples" / MANIFEST)
    with pytest.raises(LimbeckError, match="another run's: settings.grid is missing there"):
        tools.examples_writer(copies / "examples").finished()


def test_shards_need_an_open_directory_of_the_same_job(tools, tmp_path):
    writer = tools.examples_writer(tmp_path)
    with pytest.raises(LimbeckError, match="call open.. before writing"):
        tools.write_shards(writer, tools.example_rows(3))
    writer.open()
    other = dataclasses.replace(writer, seed=8)
    with pytest.raises(LimbeckError, match="taken by another job"):
        tools.write_shards(other, tools.example_rows(3))


def test_shard_json_of_another_job_is_not_believed(tools, copies, caplog):
    (copies / "other" / MANIFEST).unlink()
    writer = tools.examples_writer(copies / "other", seed=9)
    (copies / "other" / "job.json").write_bytes(writer.job.to_bytes())
    assert writer.done_shards() == {}
    assert "written by another job" in caplog.text
    with pytest.raises(LimbeckError, match="written by another job"):
        writer.finish()


def test_duplicate_key_is_refused_naming_it(tools, tmp_path):
    rows = tools.example_rows(6)
    rows = {name: np.concatenate([values, values[2:3]]) for name, values in rows.items()}
    writer = tools.examples_writer(tmp_path, num_shards=1)
    writer.open()
    key = rows["key"][2].tobytes().hex()
    with pytest.raises(LimbeckError, match=f"1 keys occur twice, first {key} .*page 2,"):
        writer.write_shard(0, rows)
    assert os.listdir(tmp_path) == ["job.json"]


def test_row_of_another_shard_is_refused(tools, tmp_path):
    writer = tools.examples_writer(tmp_path)
    writer.open()
    with pytest.raises(LimbeckError, match="belongs to shard 1 of 2; place rows with shards_of"):
        writer.write_shard(0, tools.example_rows(12))
    with pytest.raises(ValueError, match="shard 2: there are 2 shards"):
        writer.write_shard(2, tools.example_rows(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.zeros((3, 8), np.int64)}, r"field ids: expected uint16 \(3, 8\), got int64"),
        ({"ids": np.zeros((3, 9), np.uint16)}, r"got uint16 \(3, 9\)"),
        ({"ids": np.zeros((2, 8), np.uint16)}, r"got uint16 \(2, 8\)"),
        ({"extra": np.zeros(3)}, "rows have the fields extra, ids"),
        ({"key": np.zeros((3, 15), np.uint8)}, "field key: expected uint8"),
    ],
)
def test_wrong_rows_are_refused_naming_the_field(tools, tmp_path, change, message):
    writer = tools.examples_writer(tmp_path, num_shards=1)
    writer.open()
    with pytest.raises(ValueError, match=message):
        writer.write_shard(0, {**tools.example_rows(3), **change})


@pytest.mark.parametrize("lengths", [[1, 2], [[1], [2], [3]], [1.0, 2.0, 3.0], [1, 2, -1]])
def test_wrong_lengths_are_refused(tools, tmp_path, lengths):
    writer = tools.examples_writer(tmp_path, num_shards=1)
    writer.open()
    with pytest.raises(ValueError, match="lengths: "):
        writer.write_shard(0, tools.example_rows(3), lengths=lengths)


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "a b", ".x", "x.", "a--b", "x\n", "-x"])
def test_name_that_is_no_file_name_is_refused(tools, tmp_path, name):
    with pytest.raises(ValueError, match="dataset name"):
        tools.examples_writer(tmp_path, name=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "labels"}, r"needs the field digest uint8\[8\]"),
        ({"kind": "x"}, "kind is 'x'"),
        ({"num_shards": 0}, "num_shards is 0"),
        ({"num_shards": 100_000}, "num_shards is 100000"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"parents": {"x": 1}}, "parents.x is 1"),
    ],
)
def test_impossible_job_is_refused(tools, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tools.examples_writer(tmp_path, **changes)


def bare_writer(directory: Path, *, num_shards: int = 1) -> DatasetWriter:
    return DatasetWriter(
        directory,
        name="x",
        kind="examples",
        layout=Layout((KEY,)),
        num_shards=num_shards,
        settings={},
    )


def test_directory_inside_another_dataset_is_refused(tmp_path):
    bare_writer(tmp_path / "outer").open()
    with pytest.raises(UsageError, match="outer: is a dataset itself"):
        bare_writer(tmp_path / "outer" / "inner").open()
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["job.json"]


def test_number_of_shards_that_cannot_be_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="num_shards is 100000"):
        bare_writer(tmp_path, num_shards=100_000)
