"""`python -m limbeck.weights` as users run it."""

import functools
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limbeck.weights import fingerprint, read_tensors, write_tensors
from tests.conftest import run_inside

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments):
    """Runs the command in this process, which has TensorFlow already."""
    start = functools.partial(runpy.run_module, "limbeck.weights", run_name="__main__")
    return run_inside(start, "limbeck.weights", *arguments)


def process(*arguments):
    """Runs it as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "limbeck.weights", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def errors(done, *, loaded=False):
    """What it said; TensorFlow, once it is loaded, prints what it likes beside."""
    lines = done.stderr.splitlines()
    return [line for line in lines if "error: " in line] if loaded else lines


def table(lines, *, first="total"):
    start = next(i for i, line in enumerate(lines) if line.startswith(first))
    return lines[start:]


def test_show_prints_configuration_fingerprint_and_a_tree(bare_folder):
    done = run("show", bare_folder, "--depth", 9)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "hidden_dim           16" in lines
    assert "model                BERT encoder alone" in lines
    assert f"fingerprint          {fingerprint(bare_folder)}" in lines
    # 97 + 40 + 2 rows of 16, two norms' vectors; 3 layers of 4 * 272 + 408 + 400 + 64; a pooler
    assert "parameters           8,408" in lines
    query = next(line for line in lines if "layer.1.attention.self.query.weight" in line)
    assert query.split() == "kernel 256 3.04% 1,024 float32 [16, 16]".split() + [
        "encoder.layer.1.attention.self.query.weight"
    ]
    tree = table(lines)
    assert tree[0].split() == ["total", "8,408", "100.00%", "33,632"]
    assert len([line for line in tree if "  encoder.layer.2." in line]) == 16


def test_show_sums_up_what_is_deeper(bare_folder):
    tree = table(run("show", bare_folder, "--depth", 2).stdout.splitlines())
    names = [line.split()[0] for line in tree if line]
    assert names[:6] == ["total", "encoder", "embeddings", "layer_0", "layer_1", "layer_2"]
    assert names[6:] == ["pooler", "bias", "kernel"]
    sizes = {line.split()[0]: int(line.split()[1].replace(",", "")) for line in tree if line}
    assert sizes["encoder"] == sizes["embeddings"] + 3 * sizes["layer_0"]


def test_show_states_flops(bare_folder):
    (line,) = [x for x in run("show", bare_folder).stdout.splitlines() if x.startswith("flops")]
    # 2 * (3 layers * (4 * 16^2 + 2 * 16 * 24 + 2 * 40 * 16) + 16^2 + 16 * 97)
    assert line.split()[:5] == ["flops", "at", "length", "40", "22,048"]


def test_formats_convert_into_one_another_and_back(folder, vocab_file, tmp_path):
    source = shutil.copytree(folder, tmp_path / "source")
    shutil.copy(vocab_file, source / "vocab.txt")
    steps = [
        (source, tmp_path / "tf", "tf"),
        (tmp_path / "tf", tmp_path / "x.keras", "keras"),
        (tmp_path / "x.keras", tmp_path / "hf", "hf"),
    ]
    for start, end, kind in steps:
        how = process if kind == "tf" else run
        done = how("convert", start, end, "--to", kind)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{end}: written"
        assert fingerprint(end) == fingerprint(source)
    assert (tmp_path / "tf" / "vocab.txt").read_bytes() == vocab_file.read_bytes()
    done = run("compare", source, tmp_path / "hf", "--tolerance", 0)
    assert done.returncode == 0, done.stderr
    assert "58 variables of equal shape, 0 of them different" in done.stdout


def test_export_is_the_conversion_to_a_folder_of_transformers(folder, tmp_path):
    assert run("export", folder, tmp_path / "a").returncode == 0
    assert run("convert", folder, tmp_path / "b", "--to", "hf").returncode == 0
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert (tmp_path / "a" / "model.safetensors").is_file()


def test_convert_to_onnx_writes_a_graph(folder, tmp_path):
    pytest.importorskip("onnx")
    done = run("convert", folder, tmp_path / "x", "--to", "onnx")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["config.json", "model.onnx"]


def test_compare_names_what_differs(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = read_tensors(copy / "model.safetensors")
    # One component: the norm behind would take a constant away again.
    name = "bert.encoder.layer.1.output.dense.bias"
    tensors[name] = tensors[name] + 0.5 * np.eye(16, dtype=np.float32)[3]
    write_tensors(copy / "model.safetensors", tensors)
    done = run("compare", folder, copy, "--tolerance", "1e-3")
    lines = done.stdout.splitlines()
    assert lines[0] == ("58 variables of equal shape, 1 of them different; 0 cannot be compared")
    assert lines[1].split() == ["0.5", "encoder/layer_1/feed_forward/outer/bias"]
    differences = {line.split(maxsplit=1)[1]: float(line.split()[0]) for line in lines[3:]}
    assert differences["hidden states 1"] == 0 < differences["vocabulary logits"]
    assert done.returncode == 1
    (error,) = errors(done, loaded=True)
    assert "differ by" in error and "over 0.001" in error


def test_compare_of_unequal_shapes_says_what_cannot_be_compared(write_folder):
    small, large = write_folder(num_hidden_layers=1), write_folder(hidden_size=32)
    done = run("compare", small, large)
    assert done.returncode == 0, done.stderr
    assert "encoder/embeddings/token: [97, 16] and [97, 32]" in done.stdout
    assert "encoder/layer_2/attention/query/bias: only in" in done.stdout
    assert "vocabulary logits" in done.stdout


WRONG = [
    (("show", "nowhere"), "nowhere: no such folder"),
    (("convert", "nowhere", "x", "--to", "hf"), "nowhere: no such folder or file"),
    (("convert", "{folder}", "x.h5", "--to", "keras"), "a name that ends with .keras is expected"),
    (("convert", "{bare}", "x", "--to", "hf", "--head", "masked_lm"), "without a masked-LM head"),
    (("convert", "{folder}", "x", "--to", "hf", "--head", "causal_lm"), "needs a decoder"),
    (("convert", "{folder}", "{bare}", "--to", "hf"), "holds config.json and other files"),
    (("compare", "{folder}", "{folder}", "--rows", "0"), "--rows must be at least 1"),
]


@pytest.mark.parametrize(("arguments", "part"), WRONG)
def test_wrong_usage_is_one_line_and_exits_2(folder, bare_folder, tmp_path, arguments, part):
    given = [a.format(folder=folder, bare=bare_folder) for a in arguments]
    given = [str(tmp_path / a) if a in ("x", "x.h5") else a for a in given]
    done = run(*given)
    assert done.returncode == 2
    (line,) = errors(done, loaded="{bare}" in arguments[2:3])
    assert line.startswith(f"limbeck.weights {arguments[0]}: error: ") and part in line
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_one_line_and_exit_1(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    done = run("convert", copy, tmp_path / "out", "--to", "hf")
    assert done.returncode == 1
    (line,) = errors(done)
    assert "model.safetensors: not a sound safetensors file" in line
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_a_head_may_be_made_fresh(bare_folder, tmp_path):
    done = run(
        *("convert", bare_folder, tmp_path / "x", "--to", "hf", "--head", "masked_lm"),
        *("--missing-head", "initialise"),
    )
    assert done.returncode == 0, done.stderr
    assert "  initialised  head/transform/kernel  identity" in done.stdout
    config = json.loads((tmp_path / "x" / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]


@pytest.mark.parametrize("verb", ["show", "convert", "export", "compare"])
def test_every_verb_has_help(verb):
    done = run(verb, "--help")
    assert done.returncode == 0 and f"limbeck.weights {verb}" in done.stdout


def test_doors_of_the_package_do_not_load_tensorflow():
    code = "import sys, limbeck.weights, limbeck.teachers; sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    assert done.returncode == 0
