"""Horovod under the launcher's settings: what really travels in a step, and groups of ranks."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from limbeck.runs import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.ranks(2)]

ROOT = Path(__file__).resolve().parents[2]
CHECKS = str(Path(__file__).with_name("knob_checks.py"))
STEPS = 12


def launch_run(*arguments, timeout_s=240):
    pytest.importorskip("horovod", reason="Horovod is not built; run `make setup`")
    done = subprocess.run(
        [sys.executable, "-m", "launch", "run", "-np", "2", *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def read_timeline(path):
    """Tensor name -> how often each phase began. The file's list may end open."""
    text = path.read_text().rstrip().rstrip(",")
    events = json.loads(text if text.endswith("]") else text + "]")
    named = [e for e in events if e.get("name") == "process_name" and "name" in e["args"]]
    tensors = {event["pid"]: event["args"]["name"] for event in named}
    phases = {}
    for event in events:
        if event.get("ph") == "B":
            phases.setdefault(tensors[event["pid"]], Counter())[event["name"]] += 1
    return phases


@pytest.mark.timeout(600)
def test_every_step_of_the_trainer_reduces_the_same_single_group(shared_toy, tmp_path):
    training = {"steps": STEPS, "global_batch": 8, "verify_order_every": 0}
    recipe = shared_toy.write(shared_toy.distil(training=training), "timeline.yaml")
    timeline = tmp_path / "timeline.json"
    launch_run(
        *("--set", f"timeline={timeline}", "--set", "cycle_time_ms=5", "--set", "threads=1", "--"),
        *("python", "-m", "train", "run", str(recipe), "--run-dir", str(tmp_path / "run")),
    )
    phases = read_timeline(timeline)
    reduced = {name: n for name, found in phases.items() if (n := found["ALLREDUCE"])}
    group = {name for name in reduced if name.startswith("step_")}
    # Every gradient, and the sums of the losses, are members of the one group, in every step.
    assert group == {f"step_{n}of{len(group)}" for n in range(1, len(group) + 1)}
    assert len(group) > 20
    for phase in ("NEGOTIATE_ALLREDUCE", "ALLREDUCE", "MEMCPY_IN_FUSION_BUFFER"):
        assert {phases[name][phase] for name in group} == {STEPS}, phase
    # What else is reduced are small vectors: the counts of each step, and what is agreed on.
    assert not [name for name in reduced if "grad" in name.lower()]
    assert len(set(reduced) - group) < 5, set(reduced) - group


@pytest.mark.timeout(600)
def test_trainer_combines_gradients_by_adasum(shared_toy, tmp_path):
    training = {"steps": STEPS, "global_batch": 8, "wire": "adasum", "log_every": 1}
    recipe = shared_toy.write(shared_toy.distil(training=training), "adasum.yaml")
    run_dir, timeline = tmp_path / "run", tmp_path / "timeline.json"
    launch_run(
        *("--set", f"timeline={timeline}", "--set", "threads=1", "--"),
        *("python", "-m", "train", "run", str(recipe), "--run-dir", str(run_dir)),
    )
    losses = [m["train/loss"] for m in read_metrics(run_dir / "metrics.jsonl") if "train/loss" in m]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    combined = [found["MPI_ADASUM_ALLREDUCE"] for found in read_timeline(timeline).values()]
    assert sum(combined) > 20 * STEPS


def test_groups_of_ranks_can_be_formed_while_a_program_runs():
    done = launch_run("--set", "dynamic_process_sets=true", "--", "python", CHECKS)
    assert sorted(done.stdout.split("\n"))[-2:] == ["rank 0 agrees", "rank 1 agrees"]
