"""Several ranks against one, and runs whose processes are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.runs import read_metrics
from train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
CHECKS = str(Path(__file__).with_name("rank_checks.py"))
STEPS = 40


@pytest.fixture(scope="module")
def job(shared_toy):
    """A recipe with every loss, dropout 0.1, batches of 7 rows of uneven lengths."""
    plain = shared_toy.distil(
        training={"steps": STEPS, "checkpoint_every": 5, "global_batch": 7, "micro_batch": 4}
    )
    return shared_toy.root, shared_toy.write(plain)


@pytest.fixture(scope="module")
def whole(job):
    """Makes each uninterrupted run once: size -> directory."""
    root, recipe = job
    made = {}

    def run(size, mpirun):
        if size not in made:
            directory = root / f"whole-{size}"
            arguments = [CHECKS, "whole_run", str(recipe), str(directory)]
            done = mpirun(size, arguments, timeout_s=300)
            line = next(text for text in done.stdout.splitlines() if text.startswith("CHECK "))
            made[size] = directory, json.loads(line.removeprefix("CHECK "))
        return made[size]

    return run


def losses(run_dir):
    lines = read_metrics(run_dir / "metrics.jsonl")
    return np.array([line["train/loss"] for line in lines if "train/loss" in line])


def final(run_dir):
    path = checkpoint.list_checkpoints(run_dir / "checkpoints")[0]
    assert path.name == checkpoint.file_name(STEPS)
    return path


@pytest.mark.ranks(3)
def test_any_number_of_ranks_trains_the_same_model(job, whole, mpirun):
    one, _ = whole(1, mpirun)
    weights = checkpoint.load(final(one)).tensors
    for size in (2, 3):
        many, check = whole(size, mpirun)
        # Every rank started from other weights, and got the leader's before the first step.
        assert check["before"] > 0.9
        assert check["after"] == 0.0 and check["step"] == STEPS
        # The same batches, by the hash of the keys of every step, and the same accounts.
        assert (many / "ledger.jsonl").read_bytes() == (one / "ledger.jsonl").read_bytes()
        np.testing.assert_allclose(losses(many)[:20], losses(one)[:20], rtol=1e-5)
        for name, tensor in checkpoint.load(final(many)).tensors.items():
            if name.startswith("model/"):
                np.testing.assert_allclose(tensor, weights[name], rtol=1e-3, atol=1e-4)


def start(size, recipe, run_dir):
    """Starts `python -m train run`, under mpirun when there are several ranks."""
    from launch.environment import mpi_environment
    from launch.mpirun import mpirun_command

    line = [sys.executable, "-m", "train", "run", str(recipe), "--run-dir", str(run_dir)]
    if size > 1:
        line = mpirun_command(size, line)
    environment = {**os.environ, **mpi_environment(), "TF_NUM_INTRAOP_THREADS": "1"}
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def signal_at_step(process, step, run_dir, *, rank, number):
    """Reads the log until `step` is in it, then sends one rank the signal; returns the log."""
    log = []
    for text in process.stdout:
        log.append(text)
        if text.startswith(f"step {step:>2}/"):
            beat = json.loads((run_dir / "heartbeat" / f"rank-{rank:05d}.json").read_text())
            os.kill(int(beat["pid"]), number)
            break
    log.extend(process.stdout)
    return "".join(log)


@pytest.mark.ranks(3)
@pytest.mark.faults
@pytest.mark.parametrize("size", [2, 3])
def test_killed_and_resumed_run_ends_in_the_same_bytes(job, whole, mpirun, size):
    root, recipe = job
    uninterrupted, _ = whole(size, mpirun)
    run_dir = root / f"killed-{size}"
    with start(size, recipe, run_dir) as process:
        log = signal_at_step(process, 8, run_dir, rank=size - 1, number=signal.SIGKILL)
        killed_at = time.monotonic()
        assert process.wait(60) not in (0, None), log
    assert time.monotonic() - killed_at < 30
    assert "complete" not in log
    with start(size, recipe, run_dir) as process:
        log, _ = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert "bit-exact: goes on as if it had not been interrupted" in log
    assert final(run_dir).read_bytes() == final(uninterrupted).read_bytes()
    np.testing.assert_array_equal(losses(run_dir), losses(uninterrupted))
    assert (run_dir / "ledger.jsonl").read_bytes() == (uninterrupted / "ledger.jsonl").read_bytes()


@pytest.mark.ranks(2)
@pytest.mark.faults
def test_sigterm_of_one_rank_stops_all_with_a_checkpoint(job, whole, mpirun):
    """And a resume with fewer ranks goes on, and says that last bits may differ."""
    root, recipe = job
    run_dir = root / "terminated"
    with start(2, recipe, run_dir) as process:
        log = signal_at_step(process, 7, run_dir, rank=1, number=signal.SIGTERM)
        assert process.wait(60) == 143, log
    stopped = [text for text in log.splitlines() if text.startswith("stopped")]
    assert len(stopped) == 1
    step = int(stopped[0].split("step ")[1].split()[0])
    assert 7 <= step < STEPS
    newest = checkpoint.list_checkpoints(run_dir / "checkpoints")[0]
    assert newest.name == checkpoint.file_name(step)
    with start(1, recipe, run_dir) as process:
        log, _ = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert f"resumed   after step {step}" in log
    assert "batch-exact: the same batches, last bits may differ, because" in log
    assert "world_size is 2 there and 1 here" in log
    one, _ = whole(1, mpirun)
    np.testing.assert_allclose(losses(run_dir)[:20], losses(one)[:20], rtol=1e-5)
    assert (run_dir / "ledger.jsonl").read_bytes() == (one / "ledger.jsonl").read_bytes()


@pytest.mark.ranks(2)
@pytest.mark.parametrize(
    ("what", "message"),
    [
        # What Keras 3 does in silence with Horovod's own optimiser.
        ("no_synchronisation", "the weights of rank 1 are not those of rank 0"),
        pytest.param(
            "other_order",
            "step 1: the ranks fed other rows than the order says",
            marks=pytest.mark.slow,  # test_ledger.py has the same without ranks
        ),
    ],
)
def test_ranks_that_come_apart_are_stopped_and_nothing_is_saved(job, mpirun, what, message):
    root, recipe = job
    done = mpirun(2, [CHECKS, what, str(recipe), str(root / what)], check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert not checkpoint.list_checkpoints(root / what / "checkpoints")


@pytest.mark.slow
@pytest.mark.faults
def test_random_kills_of_one_rank_never_change_the_result(job, whole, mpirun):
    root, recipe = job
    uninterrupted, _ = whole(1, mpirun)
    run_dir = root / "often-killed"
    rng = np.random.default_rng(5)
    for _ in range(12):
        with start(1, recipe, run_dir) as process:
            for text in process.stdout:
                if text.startswith("promise"):
                    break
            # Compiling takes a second or two; a step some hundredths.
            time.sleep(float(rng.uniform(0, 4)))
            process.kill()
            process.stdout.read()
    with start(1, recipe, run_dir) as process:
        log, _ = process.communicate(timeout=300)
    assert process.returncode == 0, log
    # The uninterrupted run was started under mpirun: the same surroundings but for that.
    mine, theirs = (checkpoint.load(final(d)) for d in (run_dir, uninterrupted))
    assert mine.progressed == theirs.progressed
    for name, tensor in theirs.tensors.items():
        np.testing.assert_array_equal(mine.tensors[name], tensor)
