"""Extraction through other backends: equal labels to tolerance, and never two in one family."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import UsageError
from limbeck.labels.signals import HiddenSignal, SparseSignal
from limbeck.records.dataset import open_dataset
from limbeck.records.manifest import read_manifest
from limbeck.tokens import load_tokenizer
from limbeck.weights.hf import load_masked_lm
from limbeck.weights.onnx_export import export_onnx

FAMILIES = {
    "sparse": SparseSignal(k=5, temperatures=(1.0, 2.0)),
    "states": HiddenSignal(layer=1, codec="float32"),
}
# Logits and states of size 10 at most, in float32, by other orders of summation.
FLOAT32 = 5e-5


def settings(examples_dir, teacher_dir, out, **changes):
    values = {"families": FAMILIES, "batch_tokens": 96, "length_multiple": 8, **changes}
    return ExtractSettings(
        examples=str(examples_dir), teacher=str(teacher_dir), out=str(out), **values
    )


def read(out, name):
    with open_dataset(str(out / name), kind="labels") as dataset:
        return dataset.read(np.arange(dataset.num_rows))


@pytest.fixture(scope="module")
def labels(examples_dir, teacher_dir, tmp_path_factory):
    """OUT of each backend."""
    for package in ("torch", "transformers", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    outs = {"onnx": tmp_path_factory.mktemp("onnx")}
    model, _ = load_masked_lm(teacher_dir)
    graph = export_onnx(
        model, outs["onnx"] / "graph", tokenizer=load_tokenizer(teacher_dir), hidden_layers=(1,)
    )
    extract(settings(examples_dir, graph, outs["onnx"] / "labels"))
    outs["onnx"] = outs["onnx"] / "labels"
    for backend in ("keras", "pytorch"):
        outs[backend] = tmp_path_factory.mktemp(backend)
        extract(settings(examples_dir, teacher_dir, outs[backend], backend=backend))
    return outs


@pytest.mark.parametrize("backend", ["pytorch", "onnx"])
@pytest.mark.parametrize("name", FAMILIES)
def test_labels_equal_those_of_keras(labels, backend, name):
    ours, theirs = read(labels["keras"], name), read(labels[backend], name)
    assert ours.keys() == theirs.keys()
    for field, values in ours.items():
        if values.dtype.kind == "f":
            half = values.dtype == np.float16  # may round to either neighbour
            np.testing.assert_allclose(
                values, theirs[field], rtol=2**-10 if half else FLOAT32, atol=FLOAT32
            )
        else:
            np.testing.assert_array_equal(values, theirs[field])


def test_manifest_names_the_backend_and_the_same_teacher(labels):
    ours, theirs = (read_manifest(labels[b] / "sparse").content for b in ("keras", "pytorch"))
    assert ours.teacher == theirs.teacher
    assert theirs.settings["backend"] == "pytorch"
    assert "backend" not in ours.settings  # as before there was a choice: ids stay
    assert "torch" in read_manifest(labels["pytorch"] / "sparse").provenance.device


def test_graph_is_a_teacher_of_its_own(labels, examples_dir, teacher_dir):
    content = read_manifest(labels["onnx"] / "sparse").content
    assert content.settings["backend"] == "onnx"
    with pytest.raises(UsageError, match="holds labels of another teacher"):
        extract(settings(examples_dir, teacher_dir, labels["onnx"]))


def test_family_of_one_backend_is_not_continued_by_another(labels, examples_dir, teacher_dir):
    with pytest.raises(UsageError, match="settings.backend"):
        extract(settings(examples_dir, teacher_dir, labels["keras"], backend="pytorch"))
    with pytest.raises(UsageError, match="settings.backend"):
        extract(settings(examples_dir, teacher_dir, labels["pytorch"], backend="auto"))


def test_families_of_two_backends_stand_side_by_side(labels, examples_dir, teacher_dir):
    more = {"more": HiddenSignal(layer=0, positions="first")}
    out = labels["keras"]
    extract(settings(examples_dir, teacher_dir, out, families=more, backend="pytorch"))
    assert read_manifest(out / "more").content.settings["backend"] == "pytorch"


def command(recipe, examples_dir, teacher_dir, out, *more, **environment):
    paths = ["--examples", examples_dir, "--teacher", teacher_dir, "--out", out]
    return subprocess.run(
        [sys.executable, "-m", "extract", "run", *map(str, [recipe, *paths, *more])],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("families:\n  sparse: {kind: sparse, k: 5}\nthreads: 1\n")
    return path


# Packages whose import ends the process: what is refused must not get that far.
BLOCKED = """
import importlib.util, os, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked}:
            return importlib.util.spec_from_loader(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        os.write(2, (module.__name__ + " was imported").encode())
        os._exit(99)
sys.meta_path.insert(0, Blocked())
"""


def blocking(tmp_path, *names):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED.format(blocked=set(names)))
    return {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}


# Runs commands one after the other; prints exit code and errors of each.
ONE_BY_ONE = """
import contextlib, io, json, sys
from extract.__main__ import main
ended = []
for line in json.load(sys.stdin):
    sys.argv, err = ["extract", *line], io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            ended.append((end.code, err.getvalue()))
print(json.dumps(ended))
"""


def test_pytorch_teacher_runs_without_tensorflow(
    recipe, examples_dir, teacher_dir, tmp_path, labels
):
    result = command(
        recipe,
        examples_dir,
        teacher_dir,
        tmp_path / "out",
        "--backend",
        "pytorch",
        **blocking(tmp_path, "tensorflow", "keras"),
    )
    assert result.returncode == 0, result.stderr
    assert "in pytorch" in result.stdout


def test_wrong_backends_are_usage_errors_before_any_framework(
    recipe, examples_dir, teacher_dir, tmp_path, subtests
):
    environment = blocking(tmp_path, "tensorflow", "keras", "torch", "transformers", "onnxruntime")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    graph = tmp_path / "model.onnx"
    graph.touch()
    cases = (
        (teacher_dir, ("--backend", "jax"), "'auto', 'keras', 'pytorch'"),
        (teacher_dir, ("--set", "backend=jax"), "backend"),
        (teacher_dir, ("--backend", "onnx"), "no .onnx file in it"),
        (graph, ("--backend", "keras"), "model.onnx"),
        (graph, ("--backend", "pytorch"), "no config.json in it"),
        (other, ("--backend", "keras"), "model_type is 'deberta-v2'"),
        (tmp_path / "none", (), "none: no such teacher"),
    )
    out = tmp_path / "out"
    lines = [
        ["run", recipe, "--examples", examples_dir, "--teacher", teacher, "--out", out, *options]
        for teacher, options, _ in cases
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE],
        input=json.dumps([list(map(str, line)) for line in lines]),
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    for (code, error), (_, _, message) in zip(json.loads(done.stdout), cases, strict=True):
        with subtests.test(message=message):
            (line,) = error.splitlines()
            assert code == 2 and message in line
    assert not out.exists()
