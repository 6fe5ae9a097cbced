"""Every way of reading rows gives the same bytes, and the same error for the same damage."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.records import (
    KEY,
    CorruptRecord,
    DatasetWriter,
    Field,
    Layout,
    open_dataset,
    shard_reader,
    shards_of,
)
from limbeck.records.mapped import map_files

NUM_ROWS, NUM_SHARDS = 120, 5
LAYOUTS = {
    "fixed": Layout((KEY, Field("ids", "uint16", (40,)), Field("count", "uint8"))),
    "packed": Layout((KEY, Field("ids", "bytes"), Field("count", "uint8"))),
}
# A call for each record; for each run of neighbours; for runs that are near; through a map.
GAPS = {"singly": -1, "runs": 0, "near": 300, "mapped": 300}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A dataset, opened once for every way of reading, and its values in order."""

    ways: dict
    values: dict

    def read(self, way, rows):
        default = shard_reader.MERGE_GAP_BYTES
        shard_reader.MERGE_GAP_BYTES = GAPS[way]
        try:
            return self.ways[way].read(np.array(rows, np.int64))
        finally:
            shard_reader.MERGE_GAP_BYTES = default


def write(directory, layout, keys):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 1 << 16, (NUM_ROWS, 40)).astype(np.uint16)
    if not layout.stride_is_fixed:
        sizes = rng.integers(0, 200, NUM_ROWS)
        ids = np.array([rng.bytes(size) for size in sizes], object)
    rows = {"key": keys, "ids": ids, "count": np.arange(NUM_ROWS, dtype=np.uint8)}
    writer = DatasetWriter(
        str(directory),
        name="x",
        kind="documents",
        layout=layout,
        num_shards=NUM_SHARDS,
        settings={},
    )
    writer.open()
    shards = shards_of(keys, NUM_SHARDS)
    for number in range(NUM_SHARDS):
        writer.write_shard(number, {n: v[shards == number] for n, v in rows.items()})
    writer.finish()


@pytest.fixture(scope="module", params=LAYOUTS)
def kept(request, tools, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param) / "data"
    write(directory, LAYOUTS[request.param], tools.example_rows(NUM_ROWS)["key"])
    ways = {way: open_dataset(directory) for way in GAPS}
    map_files(ways["mapped"])
    records = list(ways["runs"].iterate())
    values = {name: [record[name] for record in records] for name in records[0]}
    yield Kept(ways=ways, values=values)
    for dataset in ways.values():
        dataset.close()


ROWS = st.lists(st.integers(0, NUM_ROWS - 1), max_size=40)
BLOCKS = st.builds(
    lambda first, size: [*range(first, min(first + size, NUM_ROWS))],
    *[
        st.integers(0, NUM_ROWS - 1),
        st.integers(0, 60),
    ],
)
ASKED = st.one_of(ROWS, BLOCKS, st.builds(lambda a, b: a + b, ROWS, BLOCKS))


@settings(deadline=None, max_examples=60)
@given(ASKED)
def test_any_rows_come_as_they_were_written(kept, rows):
    for way in GAPS:
        found = kept.read(way, rows)
        for name, values in kept.values.items():
            assert len(found[name]) == len(rows)
            for row, value in zip(rows, found[name], strict=True):
                assert np.array_equal(value, values[row]), (way, name, row)


@settings(deadline=None, max_examples=150)
@given(
    ASKED,
    st.lists(
        st.tuples(st.integers(0, NUM_ROWS - 1), st.integers(0, 10_000), st.integers(1, 255)),
        min_size=1,
        max_size=4,
        unique_by=lambda damage: damage[0],
    ),
)
def test_first_damaged_row_asked_for_is_named_and_no_other_row_is_lost(kept, rows, damages):
    places = [kept.ways["runs"].place(row) for row, _, _ in damages]
    before = []
    for place, (_, at, bits) in zip(places, damages, strict=True):
        with open(place.path, "r+b") as file:
            byte = os.pread(file.fileno(), 1, place.offset + at % place.size)
            before.append((place.path, place.offset + at % place.size, byte))
            os.pwrite(file.fileno(), bytes([byte[0] ^ bits]), before[-1][1])
    damaged = dict(zip([row for row, _, _ in damages], places, strict=True))
    hit = sorted(set(rows) & damaged.keys())
    try:
        reasons = set()
        for way in GAPS:
            kept.read(way, [row for row in rows if row not in damaged])
            if not hit:
                kept.read(way, rows)
                continue
            with pytest.raises(CorruptRecord) as caught:
                kept.read(way, rows)
            error, place = caught.value, damaged[hit[0]]
            assert (error.path, error.row, error.offset) == (place.path, hit[0], place.offset)
            reasons.add(str(error))
        assert len(reasons) <= 1
    finally:
        for path, at, byte in before:
            with open(path, "r+b") as file:
                os.pwrite(file.fileno(), byte, at)


@pytest.mark.parametrize("way", ["singly", "runs", "near"])
def test_file_cut_after_opening_is_named_at_its_first_lost_row(kept, way):
    place = kept.ways[way].place(NUM_ROWS - 3)
    with open(place.path, "rb") as file:
        data = file.read()
    os.truncate(place.path, place.offset + 7)
    try:
        kept.read(way, range(NUM_ROWS - 3))
        with pytest.raises(CorruptRecord, match="found its end at") as caught:
            kept.read(way, range(NUM_ROWS))
        assert caught.value.row == NUM_ROWS - 3
    finally:
        with open(place.path, "r+b") as file:
            file.write(data)
    kept.read(way, range(NUM_ROWS))
