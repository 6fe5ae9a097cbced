"""`python -m limbeck.weights` as users run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck.weights import fingerprint

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "limbeck.weights", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_show_prints_shape_fingerprint_and_every_tensor(bare_folder):
    done = run("show", bare_folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "hidden_dim           16" in lines
    assert f"fingerprint          {fingerprint(bare_folder)}" in lines
    assert "pooler.dense.bias  float32 [16]  unused: the pooler; a masked LM has none" in lines
    assert len(lines) == 12 + 2 + 55


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(("show", "nowhere"), "nowhere: no such folder"), (("convert",), "not there yet")],
)
def test_wrong_usage_is_one_line_and_exits_2(arguments, part):
    done = run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"limbeck.weights {arguments[0]}: error: ") and part in line


def test_doors_of_the_package_do_not_load_tensorflow():
    code = "import sys, limbeck.weights, limbeck.teachers; sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    assert done.returncode == 0
