"""The command as a user runs it: exit codes, one line per error, kills."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extract.__main__ import main
from tests.conftest import run_inside

RECIPE = """\
families:
  sparse: {kind: sparse, k: 5, temperatures: [1, 2]}
  hidden: {kind: hidden, layer: 1}
batch_tokens: 96
length_multiple: 8
threads: 1
"""


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "extract", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        **options,
    )


def inside(*arguments):
    """The same in this process: for what is refused before any work, and what asks no teacher."""
    return run_inside(main, "extract", *arguments)


def run_arguments(recipe, examples_dir, teacher_dir, out):
    return ["run", recipe, "--examples", examples_dir, "--teacher", teacher_dir, "--out", out]


def error_line(result, code):
    """The one line of an error, after checking the exit code and that there is no traceback."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    if code == 1:  # TensorFlow was loaded by then, and prints what it likes
        lines = [line for line in lines if "error: " in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(examples_dir, teacher_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    (directory / "recipe.yaml").write_text(RECIPE)
    out = directory / "out"
    result = command(*run_arguments(directory / "recipe.yaml", examples_dir, teacher_dir, out))
    assert result.returncode == 0, result.stderr
    return out, result.stdout


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the manifests and metrics, which hold times."""
    files = (p for p in sorted(directory.rglob("*")) if p.is_file() and p.name != "manifest.json")
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in files if p.parent.name != "metrics"
    }


def manifest_ids(directory: Path) -> dict[str, str]:
    from limbeck.records.manifest import read_manifest

    return {p.parent.name: read_manifest(p.parent).id for p in directory.rglob("manifest.json")}


def test_run_prints_sizes_before_and_after(finished):
    _, stdout = finished
    lines = stdout.splitlines()
    assert lines[0].startswith("extract: 60 examples, ")
    assert any("sparse: 5 ids at T 1, 2 at masked positions: " in line for line in lines)
    assert any("B a position" in line and "in total" in line for line in lines)
    assert lines[-1].startswith("extract: done in ")


def test_set_replaces_a_value_of_the_recipe(finished, recipe, examples_dir, teacher_dir):
    arguments = run_arguments(recipe, examples_dir, teacher_dir, finished[0])
    result = inside(*arguments, "--set", "families.sparse.k=6")
    line = error_line(result, 2)
    assert line.startswith("extract run: error: ") and "settings.signal.k is 5 there and 6" in line


def test_mistake_that_shows_only_against_the_teacher_names_the_recipes_line(
    recipe, examples_dir, teacher_dir, tmp_path
):
    recipe.write_text(RECIPE.replace("layer: 1", "layer: 99"))
    out = tmp_path / "out"
    line = error_line(inside(*run_arguments(recipe, examples_dir, teacher_dir, out)), 2)
    assert line.startswith(f"extract run: error: {recipe}:3: families.hidden"), line
    assert "99" in line and not out.exists()


@pytest.mark.slow
@pytest.mark.faults
def test_killed_run_goes_on_to_the_same_bytes(
    finished, recipe, examples_dir, teacher_dir, tmp_path
):
    out = tmp_path / "out"
    arguments = run_arguments(recipe, examples_dir, teacher_dir, out)
    process = subprocess.Popen(
        [sys.executable, "-m", "extract", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    num_files = 1  # killed at the first instant at which a file of a shard is seen
    deadline = time.monotonic() + 200
    while len(list(out.rglob("*-of-*"))) < num_files and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(out.rglob("manifest.json"))
    assert list(out.rglob("*-of-*"))  # it was at work
    result = command(*arguments)
    assert result.returncode == 0, result.stderr
    assert contents(out) == contents(finished[0])
    assert manifest_ids(out) == manifest_ids(finished[0])
    assert not list(out.rglob("*.tmp-*"))


@pytest.mark.slow
@pytest.mark.faults
def test_full_disk_ends_with_one_line_and_a_later_run_completes(
    finished, recipe, examples_dir, teacher_dir, tmp_path
):
    out = tmp_path / "out"
    arguments = run_arguments(recipe, examples_dir, teacher_dir, out)
    small = 4096  # bytes a file may have: shards of `hidden` are larger

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))

    result = command(*arguments, preexec_fn=limit)
    line = error_line(result, 1)
    assert "could not be written" in line and str(out) in line
    assert command(*arguments).returncode == 0
    assert contents(out) == contents(finished[0])


def test_bad_input_is_refused_before_any_work(
    recipe, examples_dir, teacher_dir, tmp_path, subtests
):
    other = tmp_path / "other-teacher"
    shutil.copytree(teacher_dir, other)
    words = (other / "vocab.txt").read_text().split("\n")
    words[10], words[11] = words[11], words[10]
    (other / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "notes").mkdir()
    good = {"recipe": recipe, "examples_dir": examples_dir, "teacher_dir": teacher_dir}
    cases = (
        ({"recipe": tmp_path / "none.yaml"}, (), "none.yaml: No such file"),
        ({"examples_dir": tmp_path / "none"}, (), "none: no such directory"),
        ({"examples_dir": tmp_path / "notes"}, (), "no manifest.json"),
        ({"teacher_dir": tmp_path / "notes"}, (), "notes"),
        ({"teacher_dir": other}, (), "tokenizer"),
        ({}, ("families.sparse.k=98",), "k is 98, but the teacher's vocabulary has 97 ids"),
        ({}, ("families.hidden.layer=3",), "layer is 3, but the teacher has layers 0"),
        ({}, ("families.sparse.kind=logits",), "logits"),
        ({}, ("window_rows=0",), "window_rows must be at least 1, got 0"),
        ({}, ("families.sparse.temprature=[1]",), "unknown key 'temprature'"),
        ({}, ("families.sparse.temperatures=[2, 1]",), "temperatures must rise"),
        ({}, ("batch_tokens=0",), "batch_tokens must be at least 1, got 0"),
    )
    for changes, assignments, message in cases:
        with subtests.test(message=message):
            out = tmp_path / "out"
            arguments = run_arguments(**{**good, **changes}, out=out)
            sets = [part for a in assignments for part in ("--set", a)]
            assert message in error_line(inside(*arguments, *sets), 2)
            assert not out.exists()


def test_sequences_longer_than_the_teachers_positions_are_refused(
    recipe, examples_dir, teacher_dir, tmp_path
):
    short = tmp_path / "short-teacher"
    shutil.copytree(teacher_dir, short)
    from safetensors.numpy import load_file, save_file

    config = json.loads((short / "config.json").read_text())
    config["max_position_embeddings"] = 16
    (short / "config.json").write_text(json.dumps(config))
    tensors = load_file(str(short / "model.safetensors"))
    (name,) = (n for n in tensors if n.endswith("position_embeddings.weight"))
    tensors[name] = tensors[name][:16].copy()
    save_file(tensors, str(short / "model.safetensors"), metadata={"format": "pt"})
    result = inside(*run_arguments(recipe, examples_dir, short, tmp_path / "out"))
    line = error_line(result, 2)
    assert "tokens, but the teacher" in line and "has 16 positions" in line


def test_family_of_another_teacher_needs_another_out(
    finished, recipe, examples_dir, teacher_dir, tmp_path
):
    from safetensors.numpy import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(teacher_dir, other)
    tensors = load_file(str(other / "model.safetensors"))
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1
    save_file(tensors, str(other / "model.safetensors"), metadata={"format": "pt"})
    (tmp_path / "new.yaml").write_text("families:\n  fresh: {kind: sparse, k: 2}\n")
    result = inside(*run_arguments(tmp_path / "new.yaml", examples_dir, other, finished[0]))
    assert "holds labels of another teacher" in error_line(result, 2)
    assert not (finished[0] / "fresh").exists()


def test_inspect_prints_manifest_size_and_codec_error(finished, examples_dir, teacher_dir):
    result = command(
        "inspect", finished[0] / "sparse", "--examples", examples_dir, "--teacher", teacher_dir
    )
    assert result.returncode == 0, result.stderr
    assert "k 5" in result.stdout and "B a position" in result.stdout
    assert "KL" in result.stdout


def test_inspect_of_something_else_is_a_usage_error(tmp_path):
    assert "no manifest.json" in error_line(inside("inspect", tmp_path), 2)


def test_dry_run_prints_an_estimate_and_writes_nothing(recipe, examples_dir, teacher_dir, tmp_path):
    out = tmp_path / "out"
    arguments = run_arguments(recipe, examples_dir, teacher_dir, out)
    result = command(*arguments, "--dry-run", "--token-budget", "48")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert any("to be written at most" in line and " free" in line for line in lines)
    assert any("estimate: " in line and "tokens/s" in line for line in lines)
    assert lines[-1] == "extract: dry run: nothing was written"
    assert not out.exists()


def test_token_budget_replaces_that_of_the_recipe(finished, recipe, examples_dir, teacher_dir):
    arguments = run_arguments(recipe, examples_dir, teacher_dir, finished[0])
    line = error_line(inside(*arguments, "--token-budget", "48"), 2)
    assert "settings.batch_tokens is 96 there and 48 here" in line


def test_worker_that_is_no_number_is_a_usage_error(recipe, examples_dir, teacher_dir, tmp_path):
    arguments = run_arguments(recipe, examples_dir, teacher_dir, tmp_path / "out")
    line = error_line(inside(*arguments, "--worker", "2/2"), 2)
    assert line.startswith("extract run: error: --worker 2/2: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["inspect", "--help"], ["derive", "--help"]]
)
def test_help_exits_zero(arguments):
    result = inside(*arguments)
    assert result.returncode == 0 and "extract" in result.stdout


def test_version_is_printed():
    from limbeck import __version__

    result = inside("--version")
    assert result.returncode == 0 and result.stdout == f"extract (limbeck {__version__})\n"
