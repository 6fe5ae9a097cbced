"""Steps run once each, in order; a killed runner goes on where it was."""

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.environment import project_root
from launch.recipes.lineage import FILE, Lineage
from limbeck.config.errors import LimbeckError

HERE = Path(__file__).parent
ALL = ["a", "b", "c"]


def _module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cheap = _module("cheap_recipe")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """The commands of the tests are found by `python -m`."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{project_root()}")


def starts(out: Path) -> dict[str, int]:
    files = {name: out / f"{name}.starts" for name in ALL}
    return {n: len(f.read_text().splitlines()) for n, f in files.items() if f.exists()}


def until(condition, *, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_every_step_runs_once(tmp_path, capsys):
    lineage = cheap.run(tmp_path, cheap.steps(tmp_path))
    assert list(lineage.outputs) == ALL
    assert lineage.outputs["b"].parents == {"a": lineage.outputs["a"].id}
    assert lineage.outputs["b"].commands == (f"python -m cheap_step {tmp_path / 'b'} b",)
    assert lineage.outputs["b"].seconds > 0
    cheap.run(tmp_path, cheap.steps(tmp_path))
    assert starts(tmp_path) == {"a": 1, "b": 1, "c": 1}
    assert "[3/3] make c" in capsys.readouterr().out


def test_a_failing_step_is_named_and_done_again(tmp_path):
    with pytest.raises(LimbeckError, match=r"the step `b` ended with code 1; its output is in .*"):
        cheap.run(tmp_path, cheap.steps(tmp_path, texts={"b": "fail"}))
    assert "the disk is full" in (tmp_path / "logs" / "02-b.log").read_text()
    cheap.run(tmp_path, cheap.steps(tmp_path))
    assert starts(tmp_path) == {"a": 1, "b": 2, "c": 1}


def test_an_output_that_vanished_is_made_again(tmp_path):
    cheap.run(tmp_path, cheap.steps(tmp_path))
    shutil.rmtree(tmp_path / "b")
    cheap.run(tmp_path, cheap.steps(tmp_path))
    assert starts(tmp_path) == {"a": 1, "b": 2, "c": 1}


def test_an_output_that_was_changed_is_refused(tmp_path):
    cheap.run(tmp_path, cheap.steps(tmp_path))
    (tmp_path / "b" / "result").write_text("another")
    with pytest.raises(LimbeckError, match="step 'b' was made before.*changed since.*--fresh"):
        cheap.run(tmp_path, cheap.steps(tmp_path))


def test_other_commands_are_refused(tmp_path):
    cheap.run(tmp_path, cheap.steps(tmp_path))
    with pytest.raises(LimbeckError, match="step 'c' was made before.*other commands"):
        cheap.run(tmp_path, cheap.steps(tmp_path, texts={"c": "new"}))


def test_other_inputs_are_refused(tmp_path):
    cheap.run(tmp_path, cheap.steps(tmp_path))
    shutil.rmtree(tmp_path / "a")
    lineage = json.loads((tmp_path / FILE).read_text())
    del lineage["outputs"]["a"]
    (tmp_path / FILE).write_text(json.dumps(lineage))
    with pytest.raises(LimbeckError, match="step 'b' was made before.*another input a"):
        cheap.run(tmp_path, cheap.steps(tmp_path, texts={"a": "new"}))


def test_a_step_that_leaves_nothing_is_an_error(tmp_path):
    planned = cheap.steps(tmp_path)
    wrong = vars(planned[0]) | {"output": tmp_path / "elsewhere"}
    with pytest.raises(LimbeckError, match="step 'a' ended well but left nothing"):
        cheap.run(tmp_path, [type(planned[0])(**wrong)])


def test_the_time_of_an_attempt_that_failed_counts(tmp_path):
    planned = dataclasses.replace(cheap.steps(tmp_path)[0], output=tmp_path / "later")
    with pytest.raises(LimbeckError, match="left nothing"):
        cheap.run(tmp_path, [planned])
    first = Lineage(tmp_path, recipe="cheap").begun["a"].output.seconds
    assert first > 0
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "result").write_text("a")
    assert cheap.run(tmp_path, [planned]).outputs["a"].seconds > first


def test_a_damaged_lineage_is_refused(tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(LimbeckError, match=r"lineage\.json: is damaged.*--fresh"):
        Lineage(tmp_path, recipe="cheap")


def started(out: Path, *, slow: str) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "cheap_recipe.py"), str(out), slow]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@pytest.mark.faults
@pytest.mark.parametrize("slow", ALL)
def test_a_runner_killed_inside_a_step_goes_on(tmp_path, slow):
    with started(tmp_path, slow=slow) as process:
        until(lambda: slow in starts(tmp_path))
        process.kill()
    before = starts(tmp_path)
    assert set(Lineage(tmp_path, recipe="cheap").begun) == {slow}
    lineage = cheap.run(tmp_path, cheap.steps(tmp_path))  # waits for what was started
    assert list(lineage.outputs) == ALL
    assert lineage.begun == {}
    assert starts(tmp_path) == {n: before.get(n, 0) + (n >= slow) for n in ALL}
    assert (tmp_path / slow / "result").read_text() == slow


@pytest.mark.faults
def test_a_runner_killed_between_steps_goes_on(tmp_path):
    # Stopped while c is asleep, then killed: a and b are on record, c is not begun again twice.
    with started(tmp_path, slow="c") as process:
        until(lambda: (tmp_path / FILE).exists() and "c" in starts(tmp_path))
        os.kill(process.pid, signal.SIGSTOP)
        process.kill()
    assert set(Lineage(tmp_path, recipe="cheap").outputs) == {"a", "b"}
    cheap.run(tmp_path, cheap.steps(tmp_path))
    assert starts(tmp_path) == {"a": 1, "b": 1, "c": 2}


@pytest.mark.faults
def test_a_record_lost_after_its_step_is_made_up_for(tmp_path):
    # Killed after the command had ended, before lineage.json was written.
    cheap.run(tmp_path, cheap.steps(tmp_path))
    lineage = Lineage(tmp_path, recipe="cheap")
    old = lineage.outputs["c"].id
    lineage.forget(["c"])
    again = cheap.run(tmp_path, cheap.steps(tmp_path))
    assert again.outputs["c"].id == old


@pytest.mark.faults
def test_a_second_runner_waits_for_the_first(tmp_path):
    with started(tmp_path, slow="b") as process:
        until(lambda: "b" in starts(tmp_path))
        second = subprocess.Popen(
            [sys.executable, str(HERE / "cheap_recipe.py"), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with second:
            assert "is in use by another run" in second.stdout.readline()
            process.kill()
            second.communicate(timeout=60)
    assert second.returncode == 0
    assert (tmp_path / "c" / "result").exists()
