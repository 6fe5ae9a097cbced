import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.config import LimbeckError
from limbeck.order import StreamState
from train import checkpoint
from train.checkpoint import Checkpoint, Progressed

ROOT = Path(__file__).resolve().parents[2]


def state(step, *, size=6):
    stream = StreamState(
        dataset_ids=("a" * 64, "b" * 64),
        seed=3,
        boundary="run_on",
        epoch=0,
        position=7 * step,
        global_batch=7,
    )
    progressed = Progressed(
        step=step,
        stream=stream,
        rows=7 * step,
        tokens=90 * step,
        config_hash="0123",
        architecture={"num_layers": 1},
        surroundings={"world_size": 1},
    )
    rng = np.random.default_rng(step)
    tensors = {
        "model/kernel": rng.normal(size=(size, 3)).astype(np.float32),
        "optimizer/00000": np.array(step, np.int32),  # a scalar
    }
    return Checkpoint(progressed=progressed, tensors=tensors)


def assert_same(a, b):
    assert a.progressed == b.progressed
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert tensor.shape == b.tensors[name].shape
        np.testing.assert_array_equal(tensor, b.tensors[name])


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


SAVER = """
import sys, importlib.util
from pathlib import Path
spec = importlib.util.spec_from_file_location("t", sys.argv[1])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
step = 0
while True:
    step += 1
    t.checkpoint.save(Path(sys.argv[2]), t.state(step, size=200_000), keep=2)
    print(step, flush=True)
"""


@pytest.mark.faults
def test_sigkill_during_saves_always_leaves_a_sound_one(tmp_path):
    rng = random.Random(2)
    for attempt in range(6):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", SAVER, __file__, str(directory)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        ) as saver:
            assert saver.stdout is not None
            done = int(saver.stdout.readline())
            time.sleep(rng.random() * 0.15)
            saver.send_signal(signal.SIGKILL)
            done = max([done, *map(int, saver.stdout.read().split())])
        assert saver.returncode == -signal.SIGKILL
        loaded = checkpoint.load_newest(directory)
        assert loaded is not None
        # What was reported as saved is there, or already the next.
        assert loaded.progressed.step in (done, done + 1)
        assert_same(loaded, state(loaded.progressed.step, size=200_000))
        checkpoint.save(directory, state(loaded.progressed.step + 1), keep=2)
        assert len(list(directory.iterdir())) == 2  # leftovers are gone
