"""Jobs that were stopped, damaged or killed, and go on."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records import open_dataset
from limbeck.records.files import temporary_name
from limbeck.records.manifest import MANIFEST

ROOT = Path(__file__).resolve().parents[3]
DATA = "train-00000-of-00002.tfrecord"


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_resume_finds_finished_shards_and_removes_leftovers(tools, tmp_path, masters):
    writer = tools.examples_writer(tmp_path)
    writer.open()
    assert writer.finished() is None and writer.done_shards() == {}
    tools.write_shards(writer, tools.example_rows(12), indices=[1])
    (tmp_path / temporary_name(DATA)).write_bytes(b"half")
    (tmp_path / temporary_name(MANIFEST)).write_bytes(b"half")
    writer.open()
    assert list(writer.done_shards()) == [1]
    assert len(contents(tmp_path)) == 4  # job.json and the three files of shard 1
    with pytest.raises(LimbeckError, match="1 of 2 shards are not written, first shard 0"):
        writer.finish()
    tools.write_shards(writer, tools.example_rows(12), indices=[0])
    assert sorted(writer.done_shards()) == [0, 1]
    accounting = {"in": 12, "kept": 12}
    manifest = writer.finish(accounting=accounting, provenance=tools.provenance)
    assert contents(tmp_path) == contents(masters / "examples")
    found = writer.finished()
    assert found is not None and found.id == manifest.id


@pytest.mark.parametrize("part", ["tfrecord", "index", "json"])
@pytest.mark.parametrize("fault", ["flip", "cut", "remove"])
def test_damaged_finished_shard_is_written_again(tools, copies, caplog, part, fault):
    directory = copies / "examples"
    (directory / MANIFEST).unlink()
    path = directory / f"train-00000-of-00002.{part}"
    data = path.read_bytes()
    if fault == "flip":
        path.write_bytes(data[:30] + bytes([data[30] ^ 1]) + data[31:])
    elif fault == "cut":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    writer = tools.examples_writer(directory)
    writer.open()
    with caplog.at_level(logging.WARNING):
        assert list(writer.done_shards()) == [1]
    # A shard without its JSON was never finished: nothing to warn about.
    assert bool(caplog.messages) == ((part, fault) != ("json", "remove"))
    assert all(str(path.with_suffix("")) in message for message in caplog.messages)
    tools.write_shards(writer, tools.example_rows(12), indices=[0])
    writer.finish(accounting={"in": 12, "kept": 12})
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", ["job.json", MANIFEST, DATA])
def test_advice_of_the_error_mends_the_directory(tools, copies, masters, name):
    directory = copies / "examples"
    path = directory / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(LimbeckError) as found, open_dataset(directory) as dataset:
        dataset.read(range(12))
    assert ("together with manifest.json" in str(found.value)) == (name == DATA)
    path.unlink()
    if name == DATA:
        (directory / MANIFEST).unlink()
    writer = tools.examples_writer(directory)
    writer.open()
    if writer.finished() is None:
        left = {0, 1} - set(writer.done_shards())
        tools.write_shards(writer, tools.example_rows(12), sorted(left))
        writer.finish(accounting={"in": 12, "kept": 12}, provenance=tools.provenance)
    assert contents(directory) == contents(masters / "examples")


# Writes 24 shards as slowly as a real job would, from wherever the last run stopped.
JOB = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[2])
from conftest import example_rows, examples_writer, write_shards, PROVENANCE
writer = examples_writer(sys.argv[1], num_shards=24)
writer.open()
print("open", flush=True)
if writer.finished() is None:
    done = writer.done_shards()
    rows = example_rows(6000)
    for index in range(24):
        if index not in done:
            write_shards(writer, rows, [index])
            print(index, flush=True)
    writer.finish(accounting={"in": 6000}, provenance=PROVENANCE)
"""


@pytest.mark.faults
def test_job_killed_at_random_instants_ends_in_the_same_bytes(tmp_path):
    rng = random.Random(0)
    here = str(Path(__file__).parent)

    def start(directory):
        line = [sys.executable, "-c", JOB, str(directory), here]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(line, stdout=subprocess.PIPE, env=environment, text=True)

    with start(tmp_path / "whole") as whole:
        assert whole.wait(timeout=120) == 0
    kills = 0
    while kills < 40:
        with start(tmp_path / "killed") as process:
            assert process.stdout is not None
            # Up to four shards further, then anywhere inside the next one.
            for _ in range(rng.randrange(1, 6)):
                process.stdout.readline()
            time.sleep(rng.random() * 0.02)
            process.send_signal(signal.SIGKILL)
            if process.wait(timeout=120) == 0:
                break
        kills += 1
        if (tmp_path / "killed" / MANIFEST).exists():
            break  # killed between its last write and its end
        with pytest.raises(LimbeckError, match="no manifest.json"):
            open_dataset(tmp_path / "killed")
    assert kills >= 3
    with start(tmp_path / "killed") as last:
        assert last.wait(timeout=120) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    with open_dataset(tmp_path / "killed") as dataset:
        assert dataset.num_rows == 6000
