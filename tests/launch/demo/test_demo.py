"""The demonstration at a small size, and what happens when the labels are not the inputs' own."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from launch.data import data_dir
from launch.demo.pipeline import Demo, run_demo, settings
from launch.demo.scale import SHORT
from launch.environment import mpi_environment
from limbeck.records.dataset import open_dataset
from limbeck.records.writer import DatasetWriter

TINY = dataclasses.replace(SHORT, name="tiny", teacher_steps=60, student_steps=40)
IDENTITY_FIELDS = ("key", "digest", "num_positions")


def shuffle_family(source, target) -> None:
    """Writes a family with other records' labels behind the right keys and digests."""
    rng = np.random.default_rng(7)
    with open_dataset(source) as family:
        content = family.content
        writer = DatasetWriter(
            target,
            name=content.name,
            kind=content.kind,
            layout=content.layout,
            num_shards=len(content.shards),
            settings=content.settings,
            parents=content.parents,
            tokenizer=content.tokenizer,
            teacher=content.teacher,
            seed=content.seed,
        )
        writer.open()
        starts = family.shard_starts
        for index in range(len(content.shards)):
            rows = family.read(np.arange(starts[index], starts[index + 1], dtype=np.int64))
            other = shuffled_within(rows["num_positions"], rng)
            mixed = {
                name: values if name in IDENTITY_FIELDS else values[other]
                for name, values in rows.items()
            }
            shard = content.shards[index]
            writer.write_shard(index, mixed, labelled_positions=shard.labelled_positions)
        writer.finish()


def shuffled_within(counts, rng) -> np.ndarray:
    """A permutation of the rows that exchanges only rows with the same number of positions."""
    other = np.arange(len(counts))
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        other[rows] = rng.permutation(rows)
    return other


def command(*arguments: str, ranks: int = 1) -> None:
    line = [sys.executable, "-m", *arguments]
    if ranks > 1:
        line = [sys.executable, "-m", "launch", "run", "-np", str(ranks), "--", *line]
    subprocess.run(line, env=mpi_environment(), check=True, timeout=1200)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_student_of_shuffled_labels_loses(tmp_path, monkeypatch):
    data = data_dir()
    monkeypatch.setenv("LIMBECK_DATA", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # tunes a teacher of its own
    demo = Demo(scale=TINY, out=tmp_path / "demo")
    report = run_demo(demo)
    for name in ("sparse", "hidden"):
        shuffle_family(demo.out / "labels" / "train" / name, demo.out / "shuffled" / name)
    values = {
        "data.examples": demo.path("examples", "train"),
        "model.checkpoint": str(data / "all-minilm-l6-v2"),
        "training.steps": str(TINY.student_steps),
        "data.labels.sparse": demo.path("shuffled", "sparse"),
        "data.labels.hidden": demo.path("shuffled", "hidden"),
    }
    run_dir = demo.path("runs", "shuffled")
    command(
        *("train", "run", demo.recipe("student"), "--run-dir", run_dir, *settings(values)),
        ranks=TINY.num_ranks,
    )
    scores = tmp_path / "shuffled.json"
    command(
        *("train", "evaluate", run_dir, "--examples", demo.path("examples", "heldout")),
        *("--labels", demo.path("labels", "heldout", "sparse"), "--json", str(scores)),
    )
    shuffled = json.loads(scores.read_text())
    student = report["evaluation"]["student"]
    assert shuffled["kl_to_teacher"] > student["kl_to_teacher"]
    assert shuffled["accuracy"] < student["accuracy"]
    assert shuffled["kl_to_teacher"] > report["evaluation"]["baseline"]["kl_to_teacher"]
