"""The sink writes the same bytes on every runner, from any order, in any batches."""

import random

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines import sink, spill
from beam_pipelines.outcomes import WriteReport, read_report
from beam_pipelines.runner import run_pipeline
from beam_pipelines.sink import ShardRows, Target, WriteShards
from beam_pipelines.spill import Extent, Spill, read_extent
from limbeck.config.errors import LimbeckError
from limbeck.records.keys import make_key, shard_of
from limbeck.records.layout import KEY, Field, Layout
from limbeck.records.writer import DatasetWriter

SHARDS = 3
LAYOUT = Layout((KEY, Field("text", "utf8")))


def assemble(blocks):
    rows = [{"key": key, "text": text} for key, text in blocks]
    return ShardRows(
        rows=rows,
        num_rows=len(rows),
        lengths=[len(row["text"]) for row in rows],
        labelled_positions=2 * len(rows),
    )


def block_of(page):
    key = make_key(corpus="c", page=page)
    return (0, shard_of(key, SHARDS)), (key, f"page {page} " * (page % 5))


def writer_in(directory):
    writer = DatasetWriter(
        str(directory), name="d", kind="documents", layout=LAYOUT, num_shards=SHARDS, settings={}
    )
    writer.open()
    return writer


def write(directory, *, spilled=True, num=200, order=None, run=run_pipeline):
    """Writes a dataset of `num` rows; returns the bytes of its files."""
    writer = writer_in(directory / "out")
    (directory / "spill").mkdir()
    pages = list(range(num))
    random.Random(order).shuffle(pages) if order is not None else None
    target = Target(writer=writer, done={}, spill=str(directory / "spill") if spilled else "")

    def build(pipeline):
        blocks = pipeline | beam.Create(pages) | beam.Reshuffle() | "Block" >> beam.Map(block_of)
        (blocks | WriteShards([target], assemble),) | WriteReport(str(directory))

    run(build)
    assert read_report(str(directory)).counts["d/written"] == num
    writer.finish()
    return {
        path.name: path.read_bytes()
        for path in (directory / "out").iterdir()
        if path.name != "manifest.json"  # it tells the time
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return write(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def small(monkeypatch):
    """Files and batches so small that there are many of each."""
    monkeypatch.setattr(spill, "_FILE_BYTES", 900)
    monkeypatch.setattr(sink, "_BATCH_BYTES", 700)


def in_threads(build):
    options = PipelineOptions(flags=[], direct_num_workers=3, direct_running_mode="multi_threading")
    pipeline = beam.Pipeline(FnApiRunner(), options=options)
    build(pipeline)
    pipeline.run().wait_until_finish()


def in_processes(build):
    run_pipeline(build, workers=2)


def repeated(build):
    run_pipeline(build, bundle_repeat=2)


@pytest.mark.parametrize("spilled", [True, False], ids=["spilled", "grouped"])
@pytest.mark.parametrize("run", [run_pipeline, in_threads, in_processes, repeated])
def test_bytes_are_the_same_in_memory_in_threads_in_processes_and_when_bundles_are_repeated(
    tmp_path, expected, small, run, spilled
):
    assert write(tmp_path, run=run, spilled=spilled, order=7) == expected


def test_small_files_and_batches_are_many_of_them(tmp_path, small, monkeypatch):
    sizes = []
    size_of = sink._take
    monkeypatch.setattr(sink, "_take", lambda batch: sizes.append(len(batch)) or size_of(batch))
    write(tmp_path)
    assert len(sizes) > 10 and max(sizes) < 30
    assert len(list((tmp_path / "spill").iterdir())) > 5


def test_bytes_changed_on_their_way_are_found(tmp_path):
    step = Spill(str(tmp_path))
    step.start_bundle()
    assert list(step.process(((0, 1), "some row"))) == []
    [element] = step.finish_bundle()
    place, extent = element.value
    assert place == (0, 1) and list(read_extent(extent)) == ["some row"]
    path = tmp_path / extent.path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(LimbeckError, match="bytes 0 to .* are not what was written"):
        list(read_extent(extent))
    with pytest.raises(LimbeckError, match="are not what was written"):
        list(read_extent(Extent(extent.path, extent.start, extent.size + 1, extent.crc)))


def test_bundle_that_begins_again_forgets_what_it_had(tmp_path):
    step = Spill(str(tmp_path))
    for _ in range(2):
        step.start_bundle()
        list(step.process(((0, 1), "row")))
    [element] = step.finish_bundle()
    assert list(read_extent(element.value[1])) == ["row"]
