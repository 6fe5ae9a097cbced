"""Several ranks against one, and runs whose processes are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.config import yaml_file
from limbeck.runs import read_metrics
from train.checkpoints import checkpoint
from train.loop import train
from train.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
CHECKS = str(Path(__file__).with_name("rank_checks.py"))
STEPS = 40


@pytest.fixture(scope="module")
def job(shared_toy):
    """A recipe with every loss, dropout 0.1, batches of 7 rows of uneven lengths."""
    plain = shared_toy.distil(
        training={"steps": STEPS, "checkpoint_every": 5, "global_batch": 7, "micro_batch": 4}
    )
    return shared_toy.root, shared_toy.write(shared_toy.dropping(plain))


@pytest.fixture(scope="module")
def whole(job):
    """Makes each uninterrupted run once: size -> directory."""
    root, recipe = job
    made = {}

    def run(size, mpirun):
        if size not in made:
            directory = root / f"whole-{size}"
            if size == 1:
                train(yaml_file.load(recipe, Recipe), directory, say=lambda line: None)
                made[size] = directory, {}
                return made[size]
            arguments = [CHECKS, "whole_run", str(recipe), str(directory)]
            done = mpirun(size, arguments, timeout_s=300)
            line = next(text for text in done.stdout.splitlines() if text.startswith("CHECK "))
            made[size] = directory, json.loads(line.removeprefix("CHECK "))
        return made[size]

    return run


def losses(run_dir):
    lines = read_metrics(run_dir / "metrics.jsonl")
    return np.array([line["train/loss"] for line in lines if "train/loss" in line])


def final(run_dir, *, steps=STEPS):
    path = checkpoint.list_checkpoints(run_dir / "checkpoints")[0]
    assert path.name == checkpoint.file_name(steps)
    return path


@pytest.mark.ranks(3)
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_ranks_trains_the_same_model(job, whole, mpirun, deterministic, size):
    one, _ = whole(1, mpirun)
    weights = checkpoint.load(final(one)).tensors
    many, check = whole(size, mpirun)
    # Every rank started from other weights, and got the leader's before the first step.
    assert check["before"] > 0.9
    assert check["after"] == 0.0 and check["step"] == STEPS
    # The same batches, by the hash of the keys of every step, and the same accounts.
    assert same_ledger(many, one)
    np.testing.assert_allclose(losses(many)[:20], losses(one)[:20], rtol=1e-5)
    for name, tensor in checkpoint.load(final(many)).tensors.items():
        if name.startswith("model/"):
            np.testing.assert_allclose(tensor, weights[name], rtol=1e-3, atol=1e-4)


def start(size, recipe, run_dir, *, delayed=False):
    """Starts `python -m train run`, under mpirun when there are several ranks.

    With `delayed` every rank is late by chance before each step and each sum.
    """
    from launch.environment import mpi_environment
    from launch.jobs.mpirun import mpirun_command

    line = [sys.executable, "-m", "train", "run", str(recipe), "--run-dir", str(run_dir)]
    if delayed:
        line = [sys.executable, CHECKS, "delayed", str(recipe), str(run_dir)]
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


def signal_at_step(process, step, run_dir, *, rank, number, late_s=0.0):
    """Reads the log until `step` is in it, then sends one rank the signal; returns the log.

    `late_s` seconds pass in between.
    """
    log = []
    for text in process.stdout:
        log.append(text)
        if text.startswith("step ") and int(text[5 : text.index("/")]) == step:
            time.sleep(late_s)
            beat = json.loads((run_dir / "heartbeat" / f"rank-{rank:05d}.json").read_text())
            os.kill(int(beat["pid"]), number)
            break
    log.extend(process.stdout)
    return "".join(log)


@pytest.mark.ranks(2)
@pytest.mark.faults
def test_run_whose_rank_is_killed_resumes_with_delays_to_the_same_bytes(
    job, whole, mpirun, deterministic
):
    root, recipe = job
    uninterrupted, _ = whole(2, mpirun)
    run_dir = root / "killed-2"
    with start(2, recipe, run_dir, delayed=True) as process:
        log = signal_at_step(process, 8, run_dir, rank=1, number=signal.SIGKILL)
        killed_at = time.monotonic()
        assert process.wait(60) not in (0, None), log
    assert time.monotonic() - killed_at < 30
    assert "complete" not in log

    with start(2, recipe, run_dir, delayed=True) as process:
        log, _ = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert "resumed   after step 5" in log
    assert "bit-exact: goes on as if it had not been interrupted" in log
    assert_same_end(run_dir, uninterrupted)


@pytest.mark.slow
@pytest.mark.ranks(2)
@pytest.mark.faults
def test_run_whose_rank_is_told_to_stop_resumes_on_as_many_ranks_and_on_one(
    job, whole, mpirun, deterministic
):
    """SIGTERM to one rank; on one rank the rest has equal batches."""
    root, recipe = job
    uninterrupted, _ = whole(2, mpirun)
    run_dir = root / "stopped-2"
    with start(2, recipe, run_dir, delayed=True) as process:
        log = signal_at_step(process, 17, run_dir, rank=1, number=signal.SIGTERM)
        assert process.wait(60) == 143, log
    stopped = [text for text in log.splitlines() if text.startswith("stopped")]
    assert len(stopped) == 1
    step = int(stopped[0].split("step ")[1].split()[0])
    assert 17 <= step < STEPS
    newest = checkpoint.list_checkpoints(run_dir / "checkpoints")[0]
    assert newest.name == checkpoint.file_name(step)
    shutil.copytree(run_dir, root / "elsewhere")

    with start(2, recipe, run_dir, delayed=True) as process:
        log, _ = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert f"resumed   after step {step}" in log
    assert_same_end(run_dir, uninterrupted)

    said = []
    train(yaml_file.load(recipe, Recipe), root / "elsewhere", say=said.append)
    (promise,) = [text for text in said if text.startswith("promise")]
    assert "batch-exact: the same batches, last bits may differ, because" in promise
    assert "world_size is 2 there and 1 here" in promise
    # Equal sums up to their order; then Adam, whose steps go by signs of gradients, lets it grow.
    np.testing.assert_allclose(losses(root / "elsewhere")[:20], losses(run_dir)[:20], rtol=1e-5)
    assert same_ledger(root / "elsewhere", run_dir)


def same_ledger(one, other):
    """Whether two runs fed the same batches at every step."""
    return (one / "ledger.jsonl").read_bytes() == (other / "ledger.jsonl").read_bytes()


def assert_same_end(run_dir, uninterrupted, *, steps=STEPS):
    """Bytes of the last checkpoint, all losses, and the ledger of what was fed."""
    mine, theirs = (final(directory, steps=steps) for directory in (run_dir, uninterrupted))
    assert mine.read_bytes() == theirs.read_bytes()
    np.testing.assert_array_equal(losses(run_dir), losses(uninterrupted))
    assert same_ledger(run_dir, uninterrupted)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.ranks(4)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_three_kills_at_random_instants_of_200_steps_change_no_byte(shared_toy, size):
    """Of any rank, with random delays on all of them, a checkpoint at every fifth step."""
    rng, root = np.random.default_rng(size), shared_toy.root
    plain = shared_toy.distil(
        training={"steps": 200, "checkpoint_every": 5, "global_batch": 7, "micro_batch": 4}
    )
    recipe = shared_toy.write(shared_toy.dropping(plain), f"long-{size}.yaml")
    straight, run_dir = root / f"straight-{size}", root / f"long-{size}"
    with start(size, recipe, straight, delayed=True) as process:
        log, _ = process.communicate(timeout=500)
    assert process.returncode == 0, log
    reached, resumed = [], 0
    for step in (20, 70, 120):
        with start(size, recipe, run_dir, delayed=True) as process:
            rank = int(rng.integers(size))
            log = signal_at_step(
                process, step, run_dir, rank=rank, number=signal.SIGKILL, late_s=rng.uniform(0, 1)
            )
            assert process.wait(60) not in (0, None), log
        resumed += "resumed   after step" in log
        reached.append(max(int(t[5:8]) for t in log.splitlines() if t.startswith("step ")))
    with start(size, recipe, run_dir, delayed=True) as process:
        log, _ = process.communicate(timeout=500)
    assert process.returncode == 0, log
    assert resumed == 2 and reached == sorted(reached) and reached[-1] < 200
    assert_same_end(run_dir, straight, steps=200)


@pytest.mark.slow  # test_ledger.py has the same without ranks
@pytest.mark.ranks(2)
def test_rank_that_feeds_other_rows_is_stopped_and_nothing_is_saved(job, mpirun):
    root, recipe = job
    what = "other_order"
    done = mpirun(2, [CHECKS, what, str(recipe), str(root / what)], check=False)
    assert done.returncode == 1
    assert "step 1: the ranks fed other rows than the order says" in done.stderr
    assert not checkpoint.list_checkpoints(root / what / "checkpoints")


@pytest.mark.slow
@pytest.mark.faults
def test_random_kills_of_one_rank_never_change_the_result(job, mpirun):
    """A checkpoint is written at every step, so most of the kills fall into the writing of one."""
    root, recipe = job
    recipe = root / "every-step.yaml"
    plain = json.loads((root / "recipe.yaml").read_text())
    plain["training"]["checkpoint_every"] = 1
    recipe.write_text(json.dumps(plain))
    uninterrupted = root / "every-step"
    mpirun(1, [CHECKS, "whole_run", str(recipe), str(uninterrupted)], timeout_s=300)
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
