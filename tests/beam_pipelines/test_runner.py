import logging
import os

import apache_beam as beam
import pytest

from beam_pipelines.outcomes import WriteReport, dead_letter, read_report
from beam_pipelines.runner import run_pipeline
from beam_pipelines.sink import ShardRows, Target, WriteShards
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.documents import document_row, documents_layout
from limbeck.records.errors import CorruptRecord
from limbeck.records.keys import make_key, shard_of
from limbeck.records.writer import DatasetWriter


def raiser(number, error):
    if number == 3:
        raise error
    return number


def build(error):
    def build(pipeline):
        pipeline | beam.Create(range(5)) | beam.Reshuffle() | "Step" >> beam.Map(raiser, error)

    return build


@pytest.mark.parametrize("workers", [1, 2])
def test_our_errors_arrive_as_if_there_were_no_beam(workers, capfd):
    with pytest.raises(LimbeckError) as error:
        run_pipeline(build(LimbeckError("a.xml: cut off: [x]; fetch it again")), workers=workers)
    assert str(error.value) == "a.xml: cut off: [x]; fetch it again"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_the_operating_system_name_the_path(workers):
    missing = OSError(28, "No space left on device", "/data/shard")
    with pytest.raises((LimbeckError, OSError), match="No space left on device") as error:
        run_pipeline(build(missing), workers=workers)
    assert "/data/shard" in str(error.value)


def test_kinds_of_our_errors_are_kept_in_process():
    with pytest.raises(CorruptRecord, match="row 7"):
        run_pipeline(build(CorruptRecord("f.tfrecord: row 7", row=7)))


@pytest.mark.parametrize("workers", [1, 2])
def test_bugs_keep_their_traceback(workers):
    with pytest.raises(Exception, match="unexpected"):
        run_pipeline(build(ZeroDivisionError("unexpected")), workers=workers)


def test_beams_logger_is_as_before():
    before = logging.getLogger("apache_beam").level, logging.getLogger().handlers[:]
    run_pipeline(lambda pipeline: None)
    assert (logging.getLogger("apache_beam").level, logging.getLogger().handlers) == before


def pid_of(_):
    return ("pid", 1, str(os.getpid()))


def test_workers_are_other_processes(tmp_path):
    def build(pipeline):
        pids = pipeline | beam.Create(range(40)) | beam.Reshuffle() | beam.Map(pid_of)
        (pids,) | WriteReport(str(tmp_path))

    run_pipeline(build, workers=2)
    pids = set(read_report(str(tmp_path)).dead_letters)
    assert len(pids) == 2 and str(os.getpid()) not in pids
    run_pipeline(build, workers=1)
    assert set(read_report(str(tmp_path)).dead_letters) == {str(os.getpid())}


def test_workers_must_be_at_least_one():
    with pytest.raises(UsageError, match="workers is 0"):
        run_pipeline(lambda pipeline: None, workers=0)


@pytest.mark.parametrize("repeat", [0, 2])
def test_report_counts_each_outcome_once_also_when_bundles_are_doubled(tmp_path, repeat):
    outcomes = [("in", 1, ""), ("in", 4, ""), dead_letter("dead:x", page=2, title="é")]

    def build(pipeline):
        first = pipeline | "A" >> beam.Create(outcomes)
        second = pipeline | "B" >> beam.Create([dead_letter("dead:x", page=1, title="")])
        (first, second) | WriteReport(str(tmp_path))

    run_pipeline(build, bundle_repeat=repeat)
    report = read_report(str(tmp_path))
    assert report.counts == {"in": 5, "dead:x": 2}
    assert report.dead_letters == ['{"page": 1, "title": ""}', '{"page": 2, "title": "é"}']


def test_report_of_nothing_is_empty(tmp_path):
    run_pipeline(lambda pipeline: (pipeline | beam.Create([]),) | WriteReport(str(tmp_path)))
    assert read_report(str(tmp_path)).counts == {}


def rows_of(blocks):
    rows = [document_row(key=key, title=title, sentences=[]) for key, title in blocks]
    return ShardRows(rows=rows, num_rows=len(rows))


@pytest.mark.parametrize("repeat", [0, 1])
def test_sink_writes_shards_without_rows_and_leaves_finished_ones(tmp_path, repeat):
    writer = DatasetWriter(
        str(tmp_path / "out"),
        name="documents",
        kind="documents",
        layout=documents_layout(),
        num_shards=8,
        settings={},
    )
    writer.open()
    keys = [make_key(corpus="c", page=n) for n in range(5)]
    done_shard = shard_of(keys[0], 8)
    writer.write_shard(
        done_shard,
        [
            document_row(key=key, title="earlier", sentences=[])
            for key in keys
            if shard_of(key, 8) == done_shard
        ],
    )
    done = {index: summary.records for index, summary in writer.done_shards().items()}
    target = Target(writer=writer, done=done)

    def build(pipeline):
        blocks = pipeline | beam.Create([((0, shard_of(k, 8)), (k, "now")) for k in keys])
        (blocks | WriteShards([target], rows_of),) | WriteReport(str(tmp_path))

    run_pipeline(build, bundle_repeat=repeat)
    assert read_report(str(tmp_path)).counts["documents/written"] == 5 - sum(done.values())
    writer.finish()
    with open_dataset(tmp_path / "out") as dataset:
        titles = [record["title"] for record in dataset.iterate()]
    assert titles.count("earlier") == sum(done.values()) >= 1
    assert len(titles) == 5
