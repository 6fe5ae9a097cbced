import dataclasses
import importlib.util
import json
import os
import random
import subprocess
import sys
import types
from pathlib import Path

import pytest

from limbeck.config import LimbeckError, UsageError
from train.checkpoints import checkpoint
from train.checkpoints.best import better

ROOT = Path(__file__).resolve().parents[3]
KILLER = Path(__file__).with_name("save_killer.py")


def _killer():
    spec = importlib.util.spec_from_file_location("save_killer", KILLER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


killer = _killer()
state, assert_same = killer.state, killer.assert_same


def test_saved_state_is_loaded_as_it_was(tmp_path):
    path = checkpoint.save(tmp_path, state(4), keep=2)
    assert path.name == "step-00000004.safetensors"
    assert_same(checkpoint.load(path), state(4))


def test_equal_states_have_equal_bytes(tmp_path):
    (tmp_path / "b").mkdir()
    first = checkpoint.save(tmp_path, state(4), keep=2)
    second = checkpoint.save(tmp_path / "b", state(4), keep=2)
    assert first.read_bytes() == second.read_bytes()


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, state(step), keep=2)
    names = [path.name for path in checkpoint.list_checkpoints(tmp_path)]
    assert names == ["step-00000010.safetensors", "step-00000003.safetensors"]


def kept(directory):
    return [int(path.name[5:13]) for path in checkpoint.list_checkpoints(directory)]


def test_best_stays_beside_the_newest_and_so_does_that_of_each_of_them(tmp_path):
    for step, best, left in (
        (1, 1, [1]),
        (2, 1, [2, 1]),
        (3, 1, [3, 2, 1]),
        (4, 1, [4, 3, 1]),
        (5, 5, [5, 4, 1]),  # if 5 is damaged the run goes back to 4, whose best is 1
        (6, 5, [6, 5]),
        (7, 5, [7, 6, 5]),
    ):
        checkpoint.save(tmp_path, state(step, best=best), keep=2, keep_best=True)
        assert kept(tmp_path) == left
    assert_same(checkpoint.load_best(tmp_path), state(5, best=5))
    checkpoint.save(tmp_path, state(8, best=5), keep=1)
    with pytest.raises(UsageError, match="step-00000005.*best accuracy was not kept"):
        checkpoint.load_best(tmp_path)
    checkpoint.save(tmp_path, state(9, best=9), keep=1)
    assert_same(checkpoint.load_best(tmp_path), state(9, best=9))
    checkpoint.save(tmp_path, state(10), keep=1)
    with pytest.raises(UsageError, match="no evaluation yet up to step 10"):
        checkpoint.load_best(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "steps"),
    [
        ("accuracy", [0.1, 0.3, 0.3, 0.2, 0.4], [1, 2, 2, 2, 5]),  # of equal ones the earlier
        ("cross_entropy", [3.0, 2.0, 2.5, 1.0], [1, 2, 2, 4]),
        ("kl", [float("nan"), 1.0, float("-inf")], [None, 2, 2]),  # only numbers can be best
    ],
)
def test_best_is_highest_accuracy_or_lowest_of_the_others(name, values, steps):
    best = None
    for step, (value, expected) in enumerate(zip(values, steps, strict=True), 1):
        best = better(best, types.SimpleNamespace(**{name: value}), name=name, step=step)
        assert (None if best is None else best.step) == expected


def test_checkpoint_of_another_version_is_named_and_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 1)
    checkpoint.save(tmp_path, state(3), keep=1)
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"step-00000003.*of format 1 .* from formats 2 to 3"):
        checkpoint.load_newest(tmp_path)


def test_checkpoint_of_the_format_before_is_read(tmp_path, monkeypatch):
    class Before(killer.Progressed):
        def to_plain(self):
            plain = super().to_plain()
            return {k: v for k, v in plain.items() if k not in ("stale", "origin")}

    new = state(3, best=2)
    fields = {f.name: getattr(new.progressed, f.name) for f in dataclasses.fields(new.progressed)}
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    old = dataclasses.replace(new, progressed=Before(**fields))
    path = checkpoint.save(tmp_path, old, keep=1)
    monkeypatch.undo()
    loaded = checkpoint.load(path)
    assert_same(loaded, new)
    assert (loaded.progressed.stale, loaded.progressed.origin) == (0, None)


def test_result_is_the_best_where_that_is_asked_for_and_there(tmp_path):
    assert checkpoint.load_result(tmp_path, best=True) is None
    checkpoint.save(tmp_path, state(2), keep=2)
    assert checkpoint.load_result(tmp_path, best=True).progressed.step == 2
    checkpoint.save(tmp_path, state(3, best=2), keep=2, keep_best=True)
    assert checkpoint.load_result(tmp_path, best=True).progressed.step == 2
    assert checkpoint.load_result(tmp_path, best=False).progressed.step == 3


def test_header_alone_tells_where_a_run_stood(tmp_path):
    path = checkpoint.save(tmp_path, state(3, best=2), keep=2)
    assert checkpoint.peek(path) == state(3, best=2).progressed
    assert checkpoint.load(path).sha256 == checkpoint.load(path).sha256 != ""
    path.write_bytes(path.read_bytes()[:40])
    assert checkpoint.peek(path) is None and checkpoint.peek(tmp_path / "no") is None


def test_later_files_make_way_for_a_save_after_going_back(tmp_path):
    checkpoint.save(tmp_path, state(6), keep=1)
    checkpoint.save(tmp_path, state(3), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003.safetensors"]


def test_progress_reaches_other_ranks_whole():
    progressed = state(5).progressed
    data = checkpoint.progressed_to_bytes(progressed)
    assert checkpoint.progressed_from_bytes(data) == progressed


def test_nothing_there_is_a_new_run(tmp_path):
    assert checkpoint.load_newest(tmp_path) is None


@pytest.mark.faults
def test_damaged_newest_gives_way_to_the_one_before_and_says_so(tmp_path, capsys):
    for step in (3, 6):
        newest = checkpoint.save(tmp_path, state(step), keep=2)
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(data)
    assert_same(checkpoint.load_newest(tmp_path), state(3))
    said = capsys.readouterr().err
    assert "step-00000006.safetensors: damaged" in said
    assert "going back to" in said and "step-00000003" in said


@pytest.mark.faults
def test_all_damaged_is_an_error_and_not_a_new_run(tmp_path, capsys):
    path = checkpoint.save(tmp_path, state(3), keep=2)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LimbeckError, match="no checkpoint in .* is sound"):
        checkpoint.load_newest(tmp_path)
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.faults
def test_no_flipped_bit_or_cut_goes_unnoticed(tmp_path):
    path = checkpoint.save(tmp_path, state(3), keep=1)
    sound = path.read_bytes()
    rng = random.Random(1)
    for _ in range(600):
        data = bytearray(sound)
        if rng.random() < 0.2:
            data = data[: rng.randrange(len(data))]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with pytest.raises(LimbeckError):
            checkpoint.load(path)


def killed(directory, how, *, count=0, seed=2):
    done = subprocess.run(
        [sys.executable, str(KILLER), str(directory), how, str(count), str(seed)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.faults
def test_sigkill_at_any_call_of_a_save_leaves_a_sound_one(tmp_path):
    seen = killed(tmp_path, "steps")
    assert seen["kills"] >= 12 and seen["temporary"] and seen["unpruned"]


@pytest.mark.faults
@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_of_saves_always_leaves_a_sound_one(tmp_path, count):
    seen = killed(tmp_path, "random", count=count)
    # Most moments lie inside the writing of a file: that is what takes the time.
    assert seen["kills"] == count and seen["temporary"] >= count // 4
