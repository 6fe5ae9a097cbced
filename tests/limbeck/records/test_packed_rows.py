"""Batches of records with `bytes` fields: the same values as one by one, and no damage unseen."""

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records import (
    KEY,
    CorruptRecord,
    DatasetWriter,
    Field,
    Layout,
    open_dataset,
    shards_of,
)
from limbeck.records.packed_rows import PackedRows

LAYOUT = Layout(
    (
        KEY,
        Field("zmax", "float32", (3,)),
        Field("num_positions", "uint16"),
        Field("head", "bytes"),
        Field("a_tail", "bytes"),
    )
)


def columns(num_rows, tools):
    rng = np.random.default_rng(1)
    rows = {
        "key": tools.example_rows(num_rows)["key"],
        "zmax": rng.standard_normal((num_rows, 3)).astype(np.float32),
        "num_positions": np.arange(num_rows, dtype=np.uint16),
        "head": np.empty(num_rows, object),
        "a_tail": np.empty(num_rows, object),
    }
    for row in range(num_rows):
        # Lengths around the borders of one, two and three bytes of varint; zeros at the ends.
        size = [0, 1, 60, 100, 127, 128, 129, 300, 16383, 16384, 20000][row % 11]
        rows["head"][row] = rng.bytes(size) + b"\0" * (row % 3)
        rows["a_tail"][row] = b"\0" * (row % 5)
    return rows


def write(directory, rows, num_shards=2):
    writer = DatasetWriter(
        str(directory),
        name="x",
        kind="documents",
        layout=LAYOUT,
        num_shards=num_shards,
        settings={},
    )
    writer.open()
    shards = shards_of(rows["key"], num_shards)
    for number in range(num_shards):
        writer.write_shard(number, {n: v[shards == number] for n, v in rows.items()})
    writer.finish()


def test_batch_equals_its_records_read_one_by_one(tools, tmp_path):
    rows = columns(60, tools)
    write(tmp_path / "x", rows)
    by_key = {key.tobytes(): row for row, key in enumerate(rows["key"])}
    rng = np.random.default_rng(0)
    with open_dataset(tmp_path / "x") as dataset:
        for wanted in ([], [5], rng.permutation(60), [3, 3, 59, 0, 3], np.arange(60)):
            wanted = np.asarray(wanted, np.int64)
            batch = dataset.read(wanted)
            assert list(batch) == list(LAYOUT.names)
            assert batch["head"].dtype == object and batch["zmax"].shape == (len(wanted), 3)
            for place, row in enumerate(wanted.tolist()):
                record = dataset.record(row)
                source = by_key[record["key"].tobytes()]
                for name in LAYOUT.names:
                    assert np.array_equal(batch[name][place], record[name])
                    assert np.array_equal(batch[name][place], rows[name][source])


def test_columns_and_dicts_write_the_same_bytes(tools, tmp_path):
    rows = columns(30, tools)
    write(tmp_path / "columns", rows, num_shards=1)
    writer = DatasetWriter(
        str(tmp_path / "dicts"),
        name="x",
        kind="documents",
        layout=LAYOUT,
        num_shards=1,
        settings={},
    )
    writer.open()
    records = [{name: rows[name][row] for name in rows} for row in range(30)]
    records = [
        {**record, "num_positions": np.uint16(record["num_positions"])} for record in records
    ]
    writer.write_shard(0, records)
    name = "x-00000-of-00001.tfrecord"
    assert (tmp_path / "dicts" / name).read_bytes() == (tmp_path / "columns" / name).read_bytes()


@pytest.mark.parametrize("change", [{"head": np.zeros(30, "S3")}, {"zmax": np.zeros((30, 3))}])
def test_column_of_another_type_is_refused_by_name(tools, tmp_path, change):
    with pytest.raises(ValueError, match=f"field {next(iter(change))}"):
        write(tmp_path / "x", {**columns(30, tools), **change}, num_shards=1)


def test_value_that_is_no_bytes_is_refused_by_name(tools, tmp_path):
    rows = columns(30, tools)
    rows["head"][3] = "text"
    with pytest.raises(ValueError, match="field head bytes: got str"):
        write(tmp_path / "x", rows, num_shards=1)


def test_every_flipped_byte_of_a_record_is_noticed(tools, tmp_path):
    rows = {name: values[[1, 2, 3]] for name, values in columns(4, tools).items()}
    write(tmp_path / "x", rows, num_shards=1)
    path = tmp_path / "x" / "x-00000-of-00001.tfrecord"
    good = path.read_bytes()
    with open_dataset(tmp_path / "x") as dataset:
        begin, size = dataset.shards[0].extent(1)
        for at in range(begin, begin + size):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            with pytest.raises(CorruptRecord, match=r"row 1 of the shard .*, byte "):
                dataset.read([0, 1, 2])
        path.write_bytes(good)
        dataset.read([0, 1, 2])


def test_whole_record_in_the_wrong_place_is_noticed(tools, tmp_path):
    """Two records of one length, swapped: every CRC in the file is right."""
    rows = {name: values[[1, 1 + 33]] for name, values in columns(40, tools).items()}
    rows["a_tail"][:] = [b"", b""]
    rows["head"][:] = [b"left", b"rest"]
    write(tmp_path / "x", rows, num_shards=1)
    path = tmp_path / "x" / "x-00000-of-00001.tfrecord"
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[half:] + data[:half])
    with open_dataset(tmp_path / "x") as dataset, pytest.raises(CorruptRecord, match="swapped"):
        dataset.read([0, 1])


def test_other_layouts_are_refused():
    layout = Layout((KEY, Field("title", "utf8")))
    assert not PackedRows.fits(layout)
    with pytest.raises(ValueError, match="other types"):
        PackedRows(layout)


def test_records_of_another_layout_are_named(tools, tmp_path):
    """A whole record whose CRC is the one of the index, and yet not of the layout."""
    write(tmp_path / "x", columns(6, tools), num_shards=1)
    with open_dataset(tmp_path / "x") as dataset:
        other = Layout((*LAYOUT.fields[:-1], Field("z_tail", "bytes")))
        dataset._packed = PackedRows(other)
        for shard in dataset.shards:
            shard.layout = other
        with pytest.raises(LimbeckError, match="features"):
            dataset.read([0])
