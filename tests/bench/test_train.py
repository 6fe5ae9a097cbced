"""The benchmark of training runs and prints what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_kind_is_measured():
    pytest.importorskip("torch")
    sizes = {
        "rows": 64,
        "length": 16,
        "masked": 2,
        "vocab-size": 100,
        "batch": 4,
        "student-layers": 1,
        "student-dim": 32,
        "teacher-dim": 64,
    }
    options = [text for name, n in sizes.items() for text in (f"--sizes.{name}", str(n))]
    done = subprocess.run(
        [sys.executable, "-m", "bench.train", *options, "--ratios", "4", "--steps", "1"]
        + ["--rounds", "1"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    kinds = {"live 4", "full 4", "torch whole 4", "torch masked 4"}
    assert set(result["step_s"]) == {"store", "memory", *kinds}
    assert set(result["live"]["4"]["over_store"]) == kinds
