"""Extraction as a pipeline writes what `python -m extract run` writes."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_pipelines.labels import LabelsSettings, labels
from extract.run import extract
from extract.settings import ExtractSettings, Recipe
from extract.worker import Worker
from extract.workers import Claims
from limbeck.config import yaml_file
from limbeck.config.errors import LimbeckError, UsageError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
families:
  sparse: {kind: sparse, k: 4, temperatures: [1.0, 2.0]}
  some: {kind: hidden, layer: 1, records: 0.5}
batch_tokens: 256
"""


def extract_conftest():
    """The tiny teacher and examples of the tests of `extract`."""
    path = ROOT / "tests" / "extract" / "conftest.py"
    spec = importlib.util.spec_from_file_location("extract_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A directory with `teacher`, `examples` and `recipe.yaml`."""
    from limbeck.models.masked_lm import build_masked_lm
    from limbeck.tokens import WordPiece, load_tokenizer
    from limbeck.weights.hf import export_hf

    tiny = extract_conftest()
    root = tmp_path_factory.mktemp("inputs")
    words = tiny.write_vocabulary(root / "words.txt")
    model = build_masked_lm(tiny.ARCHITECTURE, seed=3)
    export_hf(model, str(root / "teacher"), tokenizer=WordPiece(words))
    info = load_tokenizer(str(root / "teacher")).info()
    tiny.write_examples(root / "examples", tiny.random_rows(60, seed=5), tokenizer=info)
    (root / "recipe.yaml").write_text(RECIPE)
    return root


def settings(inputs, out, **options):
    return LabelsSettings(
        recipe=str(inputs / "recipe.yaml"),
        examples=str(inputs / "examples"),
        teacher=str(inputs / "teacher"),
        out=str(out),
        **options,
    )


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """What `extract` writes."""
    out = tmp_path_factory.mktemp("whole") / "labels"
    recipe = yaml_file.load(str(inputs / "recipe.yaml"), Recipe)
    fields = {name: getattr(recipe, name) for name in Recipe.__dataclass_fields__}
    directories = {"examples": str(inputs / "examples"), "teacher": str(inputs / "teacher")}
    extract(ExtractSettings(**fields, **directories, out=str(out)))
    return out


def families(tree, out):
    """Files of the families; what a run says of its speed is its own."""
    return {name: data for name, data in tree(out).items() if not name.startswith("metrics/")}


def test_pipeline_writes_what_extract_writes_however_often_a_step_runs(
    inputs, whole, tmp_path, tree, capsys
):
    manifests = labels(settings(inputs, tmp_path / "labels"), bundle_repeat=1)
    assert families(tree, tmp_path / "labels") == families(tree, whole)
    assert list(manifests) == ["sparse", "some"]
    assert "computed again" in capsys.readouterr().out  # the check at the end
    assert not (tmp_path / "labels" / ".claims").exists()
    written = (tmp_path / "labels" / "some" / "manifest.json").stat().st_mtime_ns
    again = labels(settings(inputs, tmp_path / "labels"))
    assert {name: m.id for name, m in again.items()} == {n: m.id for n, m in manifests.items()}
    assert (tmp_path / "labels" / "some" / "manifest.json").stat().st_mtime_ns == written


def test_pipeline_goes_on_where_extract_was_stopped(inputs, whole, tmp_path, tree):
    out = tmp_path / "labels"
    subprocess.run(["cp", "-r", str(whole), str(out)], check=True)
    for path in [*out.glob("*/manifest.json"), *out.glob("sparse/*-00001-of-*")]:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("some/*")}
    labels(settings(inputs, out))
    assert families(tree, out) == families(tree, whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"max_dead_letters": 3}, "every example is labelled"),
        ({"set": ("families.sparse.k=0",)}, "k must be a positive integer"),
        ({"examples": "s3://bucket/examples"}, "must be a directory that all workers see"),
    ],
)
def test_bad_option_is_refused_before_work(inputs, tmp_path, options, message):
    arguments = {"examples": str(inputs / "examples"), **options}
    made = settings(inputs, tmp_path / "labels")
    made = LabelsSettings(**{**vars(made), **arguments})
    with pytest.raises((UsageError, LimbeckError), match=message):
        labels(made)
    assert not (tmp_path / "labels").exists()


def test_output_that_another_job_is_at_is_refused(inputs, tmp_path):
    with (
        Claims(str(tmp_path / "labels"), worker=Worker(count=2)),
        pytest.raises(UsageError, match="is in use by process"),
    ):
        labels(settings(inputs, tmp_path / "labels"))


@pytest.mark.slow
@pytest.mark.faults
def test_two_processes_killed_at_random_end_in_the_same_bytes(inputs, whole, tmp_path, tree):
    out = tmp_path / "labels"
    command = [sys.executable, "-m", "beam_pipelines.labels", str(inputs / "recipe.yaml")]
    for name in ("examples", "teacher"):
        command += [f"--{name}", str(inputs / name)]
    command += ["--out", str(out), "--workers", "2"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    moments = random.Random(4)
    for _ in range(3):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not out.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            process.wait(timeout=moments.uniform(0.0, 15.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "sparse: 60 records" in done.stdout
    assert families(tree, out) == families(tree, whole)
