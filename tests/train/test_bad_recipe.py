"""Recipes that fit neither their data nor themselves: one line with file and line, exit code 2.

All of it is found before TensorFlow is loaded, so nothing is on a device yet.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Recipes are written as people write them: the line that is at fault is marked with "# here".
RECIPE = """\
name: toy
seed: 3
data:
  examples: ROOT/examples
  labels:
    top: ROOT/top
    states: ROOT/states
model:
  architecture:
    vocab_size: 50
    num_layers: 1
    hidden_dim: 8
    num_heads: 2
    intermediate_dim: 16
    max_positions: 16
objective:
- loss: kl
  signal: top
  temperature: 2.0
  weight: 0.5
- loss: hidden_mse
  signal: states
  student_layer: 1
  projection: linear
optimizer:
  learning_rate: 0.01
training:
  global_batch: 7
  steps: 6
"""

# Runs the command in a process where nobody may import TensorFlow.
WITHOUT = """\
import sys
for name in ("tensorflow", "keras", "horovod"):
    sys.modules[name] = None
sys.argv[0] = "train"
from limbeck.config.command import dispatch
from train.commands import VERBS
dispatch("train", VERBS)
"""


@pytest.fixture(scope="module")
def place(shared_toy):
    root = shared_toy.root
    shared_toy.sparse(root / "examples", "vocabulary", vocab_size=60)
    shared_toy.sparse(root / "examples", "partial", records=0.5)
    return root


def refused(place, text, *arguments):
    """The one line of a command that refuses the recipe; and the line of the mark."""
    path = place / "recipe.yaml"
    path.write_text(text.replace("ROOT", str(place)))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "run", str(path), "--run-dir", str(place / "run")]
        + list(arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and not done.stdout, done.stderr
    assert not (place / "run").exists()
    marked = [n for n, line in enumerate(text.splitlines(), 1) if "# here" in line]
    return lines[0], marked


CASES = {
    "weights all zero": ("weight: 0.5", "weight: 0.0  # here", "weight is 0.0; it must be a pos"),
    "schedule all zero": (
        "weight: 0.5",
        "weight: {schedule: staged, until: [0.5], weights: [0, 0]}  # here",
        "expected numbers from 0, not all 0",
    ),
    "signal not stored": ("signal: top", "signal: bottom  # here", "is 'bottom', which is not in"),
    "off the grid": (
        "temperature: 2.0",
        "temperature: 3.0  # here",
        "objective[0].temperature 3 is ",
    ),
    "tau zero": ("temperature: 2.0", "temperature: 0  # here", "temperature"),
    "tau negative": ("temperature: 2.0", "temperature: -1  # here", "temperature"),
    "layer out of range": (
        "student_layer: 1",
        "student_layer: 9  # here",
        "objective[1].student_layer is 9, but the student has",
    ),
    "layer below the embeddings": ("student_layer: 1", "student_layer: -1  # here", "student_lay"),
    "widths without projection": (
        "projection: linear",
        "projection: none  # here",
        "objective[1].projection",
    ),
    "unknown projection": ("projection: linear", "projection: curved  # here", "projection"),
    "teacher of another vocabulary": (
        "top: ROOT/top",
        "top: ROOT/vocabulary  # here",
        "vocabulary",
    ),
    "family that is not there": ("states: ROOT/states", "states: ROOT/no  # here", "no such dir"),
    "examples that are not there": ("ROOT/examples", "ROOT/lost  # here", "no such directory"),
    "warm-up longer than the run": (
        "learning_rate: 0.01",
        "learning_rate: 0.01\n  warmup_steps: 7  # here",
        "optimizer.warmup_steps is 7, more than the 6 steps",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_recipe_is_refused_with_its_line_and_without_tensorflow(place, name):
    old, new, message = CASES[name]
    assert RECIPE.count(old) == 1
    line, marked = refused(place, RECIPE.replace(old, new))
    assert line.startswith(f"train run: error: {place / 'recipe.yaml'}:{marked[0]}: "), line
    assert message in line


def test_kind_of_term_and_family_that_do_not_fit_are_refused_with_their_line(place):
    text = RECIPE.replace("  signal: top", "  signal: states  # here")
    text = text.replace("  signal: states\n", "  signal: top\n")
    line, marked = refused(place, text)
    where = {f"{place / 'recipe.yaml'}:{n}: " for n in (17, marked[0])}
    assert any(line.startswith(f"train run: error: {place}") for place in where), line


def test_heads_of_relations_that_do_not_divide_are_refused_with_their_line(place):
    pytest.importorskip("train.recipe.terms.relations")
    from train.recipe.term import _registered

    names = [name for name in _registered if "relation" in name]
    text = RECIPE.replace("- loss: hidden_mse", f"- loss: {names[0]}")
    text = text.replace("  projection: linear\n", "  relation_heads: 3  # here\n")
    line, _ = refused(place, text)
    assert line.startswith(f"train run: error: {place / 'recipe.yaml'}:2"), line


def test_override_is_the_place_of_its_mistake(place):
    line, _ = refused(place, RECIPE, "--set", "objective.1.student_layer=9")
    assert line.startswith("train run: error: --set objective.1.student_layer=9: objective[1].stu")


STAGES = """\
stages:
- name: first
  steps: 3
- name: second
  steps: 3
  objective:
  - loss: hidden_mse
    signal: states
    student_layer: 9  # here
    projection: linear
"""


def test_mistake_in_a_later_stage_is_refused_before_the_first(place):
    text = RECIPE.replace("  steps: 6\n", "") + STAGES
    line, marked = refused(place, text)
    assert line.startswith(f"train run: error: {place / 'recipe.yaml'}:{marked[0]}: objective[0].")
