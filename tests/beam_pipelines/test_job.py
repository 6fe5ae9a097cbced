"""What every command shares: locks, scratch, accounts, limits, and Beam's metrics."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import psutil
import pytest

from beam_pipelines.job import run_job
from beam_pipelines.options import RunOptions, beam_flags
from beam_pipelines.outcomes import METRICS, WriteReport, dead_letter
from beam_pipelines.runner import run_pipeline
from beam_pipelines.sink import ShardRows, WriteShards
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.keys import make_key, shard_of
from limbeck.records.layout import KEY, Layout
from limbeck.records.writer import DatasetWriter


def rows(keys):
    found = [{"key": key} for key in keys]
    return ShardRows(rows=found, num_rows=len(found))


class Read(beam.DoFn):
    """Numbers below 10 are pages, others cannot be used."""

    def process(self, number) -> Iterator[Any]:
        yield beam.pvalue.TaggedOutput("outcomes", ("d/in", 1, ""))
        if number >= 10:
            letter = dead_letter("d/dead:odd", reason="odd", page=number)
            yield beam.pvalue.TaggedOutput("outcomes", letter)
            return
        key = make_key(corpus="c", page=number)
        yield (0, shard_of(key, 4)), key
        yield beam.pvalue.TaggedOutput("outcomes", ("d/kept", 1, ""))
        yield beam.pvalue.TaggedOutput("outcomes", ("d/rows", 1, ""))


def writer_of(directory):
    return DatasetWriter(
        str(directory),
        name="d",
        kind="documents",
        layout=Layout((KEY,)),
        num_shards=4,
        settings={},
    )


def build(numbers, seen=None):
    def build(pipeline, work):
        if seen is not None:
            seen.append(work)
        read = (
            pipeline
            | beam.Create(numbers)
            | beam.ParDo(Read()).with_outputs("outcomes", main="pages")
        )
        written = read.pages | WriteShards(work.targets, rows)
        (read.outcomes, written) | WriteReport(work.scratch, max_dead_letters=work.max_dead_letters)

    return build


def run(directory, numbers=range(12), seen=None, **options):
    [finished] = run_job(
        build(numbers, seen),
        writers=[writer_of(directory)],
        what="pages",
        paths={},
        dead_letters=f"{directory}.dead.jsonl",
        **options,
    )
    return finished


def test_account_adds_up_and_scratch_is_gone(tmp_path):
    seen = []
    finished = run(tmp_path / "out", seen=seen)
    assert finished.accounting.to_json() == {
        "in": 12,
        "kept": 10,
        "filtered": {},
        "dead_letters": 2,
    }
    [work] = seen
    assert os.path.dirname(work.scratch) == str(tmp_path / "out")
    assert not os.path.exists(work.scratch)
    assert len((tmp_path / "out.dead.jsonl").read_text().splitlines()) == 2


def test_scratch_of_a_killed_run_is_removed_by_the_next(tmp_path):
    left = tmp_path / "out" / "job.json.tmp-1-00000000" / "spill"
    left.mkdir(parents=True)
    (left / "rows").write_text("x")
    run(tmp_path / "out")
    assert [path for path in (tmp_path / "out").iterdir() if ".tmp-" in path.name] == []


def test_directory_in_use_is_refused_and_a_finished_one_is_not(tmp_path):
    writer = writer_of(tmp_path / "out")
    writer.open()
    with writer.lock(), pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        run(tmp_path / "out")
    run(tmp_path / "out")
    with writer.lock():
        assert run(tmp_path / "out").already_complete


def test_two_commands_at_once_leave_one_good_dataset(tmp_path, small_dump):
    """One of them may be told that the directory is in use; none may do harm."""
    command = [sys.executable, "-m", "beam_pipelines.text", "--corpus", "c", "--format", "lines"]
    command += ["--input", str(small_dump), "--out", str(tmp_path / "out"), "--num-shards", "20"]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=100)[1], process.returncode) for process in started]
    assert 0 in [code for _, code in ends]
    for error, code in ends:
        assert code == 0 or (code == 2 and "is in use by" in error)
    verify = [sys.executable, "-m", "limbeck.records", "verify", str(tmp_path / "out")]
    assert subprocess.run(verify, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_too_many_dead_letters_stop_the_run(tmp_path, workers):
    with pytest.raises(LimbeckError, match=r"3 dead letters \(3 odd\), such as .*limit|is 2"):
        run(tmp_path / "out", range(40), max_dead_letters=2, workers=workers)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert run(tmp_path / "out", range(40), max_dead_letters=30).accounting.num_dead == 30


def test_limit_holds_where_no_bundle_alone_reaches_it(tmp_path):
    def without_limit(pipeline, work):
        build(range(12))(pipeline, work.__class__(**{**vars(work), "max_dead_letters": None}))

    with pytest.raises(LimbeckError) as error:
        run_job(
            without_limit,
            writers=[writer_of(tmp_path / "out")],
            what="pages",
            paths={},
            dead_letters=str(tmp_path / "dead"),
            max_dead_letters=1,
        )
    assert f"{tmp_path / 'dead'} lists them" in str(error.value)
    assert len((tmp_path / "dead").read_text().splitlines()) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_every_count_is_a_counter_of_beam(tmp_path, workers):
    outcomes = [("d/in", 3, ""), ("d/in", 4, ""), dead_letter("d/dead:odd", page=1)]

    def build(pipeline):
        (pipeline | beam.Create(outcomes),) | WriteReport(str(tmp_path))

    result = run_pipeline(build, workers=workers)
    counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(METRICS))
    found = {c.key.metric.name: c.committed for c in counters["counters"]}
    assert found == {"d/in": 7, "d/dead:odd": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "NoRunner"}, "Unexpected pipeline runner: NoRunner"),
        ({"runner": "no.such.Runner"}, "No module named 'no'"),
        ({"runner": "PortableRunner", "workers": 2}, "--workers is the local runner's"),
        ({"beam_options": ("s3_endpoint=x",)}, "s3_endpoint: Beam knows no such option"),
        ({"beam_options": ("runner=x",)}, "give the runner by --runner"),
        ({"beam_options": ("save_main_session",)}, "save_main_session"),
        ({"beam_options": ("direct_num_workers=x",)}, "cannot be read"),
        ({"runner": "DataflowRunner"}, "cannot write here; give a gs:// path|not available"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_options_are_given_with_or_without_dashes():
    assert beam_flags(("region=x", "--streaming")) == ["--region=x", "--streaming"]
    assert RunOptions(workers=3).run_arguments()["workers"] == 3


STOP = """
from limbeck.config.errors import LimbeckError
import os, signal, time
import apache_beam as beam
from beam_pipelines import watch
from beam_pipelines.runner import run_pipeline

def stop(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGSTOP)

def build(pipeline):
    pipeline | beam.Create(range(2)) | beam.Reshuffle() | beam.Map(stop)

def main():
    watch._LOOK_S, watch.STOPPED_S = 0.2, 1.0
    try:
        run_pipeline(build, workers=2)
    except LimbeckError as error:  # stdout: threads of Beam's write to stderr at the same time
        print(error, flush=True)
"""


@pytest.mark.faults
def test_worker_that_is_stopped_is_noticed(tmp_path):
    (tmp_path / "stopper.py").write_text(STOP)
    done = subprocess.run(
        [sys.executable, "-c", "import stopper; stopper.main()"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.match(r"a worker process \(process (\d+)\) has been stopped", done.stdout)
    assert found, done.stdout + done.stderr
    assert not psutil.pid_exists(int(found[1]))
