"""Reading finished datasets: order, coalescing, threads, families."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import UsageError
from limbeck.records import (
    KEY,
    Field,
    Layout,
    check_rows_match,
    open_dataset,
    order_hash,
    shard_reader,
)

NUM_ROWS = 300


@pytest.fixture(scope="module")
def large(tools, tmp_path_factory):
    """A directory of 300 rows in 7 shards, and the rows in the order of the dataset."""
    directory = tmp_path_factory.mktemp("large") / "data"
    tools.write_examples(directory, NUM_ROWS, num_shards=7)
    rows = tools.example_rows(NUM_ROWS)
    hashes = [order_hash(key) for key in rows["key"]]
    order = np.argsort(np.array(hashes, np.uint64))
    return directory, {name: values[order] for name, values in rows.items()}


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, NUM_ROWS - 1), max_size=60), st.integers(0, 4))
def test_rows_come_in_the_order_asked_for_repeats_included(large, rows, gap):
    directory, expected = large
    default = shard_reader.MERGE_GAP_BYTES
    # With no gap allowed every run is read alone; with the default the tiny shards are one read.
    shard_reader.MERGE_GAP_BYTES = (-1, 0, 200, 1000, default)[gap]
    try:
        with open_dataset(directory) as dataset:
            found = dataset.read(rows)
            keys = dataset.keys(rows)
    finally:
        shard_reader.MERGE_GAP_BYTES = default
    picked = np.array(rows, np.int64)
    assert all((found[name] == expected[name][picked]).all() for name in expected)
    assert (keys == expected["key"][picked]).all()
    assert all(found[n].dtype == expected[n].dtype for n in expected)


def test_whole_dataset_in_one_read_record_by_record_and_as_stream(large):
    directory, expected = large
    with open_dataset(directory) as dataset:
        assert len(dataset) == dataset.num_rows == NUM_ROWS
        whole = dataset.read(np.arange(NUM_ROWS))
        stream = list(dataset.iterate())
        for name, values in expected.items():
            assert (whole[name] == values).all()
            assert (np.stack([row[name] for row in stream]) == values).all()
            assert (dataset.record(17)[name] == values[17]).all()
        assert (dataset.lengths() == expected["num_tokens"]).all()
        assert dataset.lengths().dtype == np.uint32
        assert dataset.shard_starts[-1] == NUM_ROWS and len(dataset.shard_starts) == 8


def test_small_buffers_change_nothing(large, monkeypatch):
    directory, expected = large
    rows = np.arange(0, NUM_ROWS, 2)
    for name, value in (("MAX_BUFFERS", 3), ("MAX_READ_BYTES", 500)):
        monkeypatch.setattr(shard_reader, name, value)
        with open_dataset(directory) as dataset:
            assert (dataset.read(rows)["ids"] == expected["ids"][rows]).all()


def test_documents_are_read_one_by_one(tools, masters):
    with open_dataset(masters / "documents", kind="documents") as dataset:
        rows = list(dataset.iterate())
        assert dataset.num_rows == len(rows) == 7
        written = {row["key"]: row for row in tools.document_rows(7)}
        for number, row in enumerate(rows):
            assert dataset.record(number)["title"] == row["title"]
            expected = written[row["key"].tobytes()]
            assert (row["title"], row["sentences"]) == (expected["title"], expected["sentences"])
        assert [row["key"].tobytes() for row in rows] == list(map(bytes, dataset.keys(range(7))))
        with pytest.raises(UsageError, match="variable length"):
            dataset.read([0])
        with pytest.raises(UsageError, match="written without token counts"):
            dataset.lengths()


def test_tensorflow_reads_the_same_shard(large):
    tf = pytest.importorskip("tensorflow")
    directory, expected = large
    string = tf.io.FixedLenFeature([], tf.string)
    found = {"ids": [], "key": []}
    for path in sorted(directory.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            parsed = tf.io.parse_single_example(record, {name: string for name in expected})
            found["ids"].append(tf.io.decode_raw(parsed["ids"], tf.uint16).numpy())
            found["key"].append(parsed["key"].numpy())
    assert (np.stack(found["ids"]) == expected["ids"]).all()
    assert found["key"] == list(map(bytes, expected["key"]))


@pytest.mark.parametrize("rows", [[-1], [NUM_ROWS], [0, 10**12]])
def test_row_that_is_not_there_is_refused(large, rows):
    with open_dataset(large[0]) as dataset:
        with pytest.raises(IndexError, match="were asked for; it has 300"):
            dataset.read(rows)
        with pytest.raises(IndexError, match="were asked for"):
            dataset.keys(rows)


def test_rows_that_are_no_integers_are_refused(large):
    with open_dataset(large[0]) as dataset:
        with pytest.raises(ValueError, match="expected integers"):
            dataset.read([1.5])
        with pytest.raises(ValueError, match="expected integers"):
            dataset.read([[1]])
        assert dataset.read([])["ids"].shape == (0, 8)


def test_many_threads_read_what_one_reads(large):
    directory, expected = large
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, NUM_ROWS, 40) for _ in range(60)]
    barrier = threading.Barrier(8)

    def read(number):
        if number < 8:
            barrier.wait()  # all open the files at the same moment
        return dataset.read(batches[number])["ids"]

    with open_dataset(directory) as dataset, ThreadPoolExecutor(8) as pool:
        for batch, ids in zip(batches, pool.map(read, range(60)), strict=True):
            assert (ids == expected["ids"][batch]).all()


def test_closed_dataset_leaves_no_file_open(large):
    import os

    before = os.listdir("/dev/fd")
    for _ in range(3):
        dataset = open_dataset(large[0])
        dataset.read(np.arange(NUM_ROWS))
        dataset.close()
        del dataset
    assert len(os.listdir("/dev/fd")) == len(before)


@pytest.mark.parametrize(("num_rows", "num_shards"), [(0, 1), (0, 3), (1, 1), (1, 5), (3, 40)])
def test_empty_shards_and_tiny_datasets(tools, tmp_path, num_rows, num_shards):
    tools.write_examples(tmp_path / "x", num_rows, num_shards=num_shards)
    with open_dataset(tmp_path / "x") as dataset:
        assert dataset.num_rows == num_rows
        assert len(list(dataset.iterate())) == num_rows
        pages = dataset.read(np.arange(num_rows))["key"][:, 9].tolist()
        assert sorted(pages) == list(range(num_rows))
        assert len(dataset.lengths()) == num_rows


def test_numbers_are_read_in_native_byte_order(tools, tmp_path):
    layout = Layout((KEY, Field("x", "float32", (2,)), Field("n", "uint64")))
    writer = tools.examples_writer(tmp_path / "x", num_shards=1, layout=layout)
    writer.open()
    rows = {
        "key": np.arange(32, dtype=np.uint8).reshape(2, 16),
        "x": np.array([[1.5, np.nan], [np.inf, -0.0]], np.float32),
        "n": np.array([2**64 - 1, 0], np.uint64),
    }
    writer.write_shard(0, rows)
    writer.finish()
    with open_dataset(tmp_path / "x") as dataset:
        found = dataset.read([0, 1])
        assert all(values.dtype.isnative for values in found.values())
        swapped = found["key"][0, 0] != 0
        order = [1, 0] if swapped else [0, 1]
        assert found["x"][order].tobytes() == rows["x"].tobytes()
        assert found["n"][order].tolist() == rows["n"].tolist()


def test_family_goes_with_its_examples_only(tools, masters, tmp_path):
    with open_dataset(masters / "labels") as labels, open_dataset(masters / "examples") as examples:
        check_rows_match(examples, labels)
        assert (labels.keys(range(12)) == examples.keys(range(12))).all()
        with open_dataset(masters / "other") as other, pytest.raises(UsageError) as found:
            check_rows_match(other, labels)
        assert str(masters / "labels") in str(found.value)
        assert str(masters / "other") in str(found.value)
        assert examples.id in str(found.value) and other.id in str(found.value)


@pytest.mark.parametrize(
    ("num_rows", "num_shards", "message"),
    [(12, 3, "3 shards against 2"), (11, 2, "records of train-0000"), (0, 2, "records of train")],
)
def test_family_with_other_rows_is_refused(tools, masters, tmp_path, num_rows, num_shards, message):
    with open_dataset(masters / "examples") as examples:
        parents = {"examples": examples.id}
        tools.write_examples(tmp_path / "x", num_rows, num_shards=num_shards, parents=parents)
        with (
            open_dataset(tmp_path / "x") as family,
            pytest.raises(UsageError, match=f"does not go with .*{message}"),
        ):
            check_rows_match(examples, family)


def test_family_with_the_same_counts_and_other_keys_is_refused(tools, masters, tmp_path):
    with open_dataset(masters / "examples") as examples:
        writer = tools.examples_writer(tmp_path / "x", parents={"examples": examples.id})
        writer.open()
        for index, shard in enumerate(examples.content.shards):
            many = tools.example_rows(200, corpus="foreign")
            from limbeck.records import shards_of

            mine = np.flatnonzero(shards_of(many["key"], 2) == index)[: shard.records]
            writer.write_shard(index, {name: values[mine] for name, values in many.items()})
        writer.finish()
        with (
            open_dataset(tmp_path / "x") as family,
            pytest.raises(UsageError, match="first_key of train-00000"),
        ):
            check_rows_match(examples, family)
