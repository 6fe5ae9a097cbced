"""Recipes that fit neither their data nor themselves: one line with file and line, exit code 2.

All of it is found before TensorFlow is loaded, so nothing is on a device yet.
"""

import json
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

# Runs commands one after the other in a process where nobody may import TensorFlow.
WITHOUT = """\
import contextlib, io, json, sys
for name in ("tensorflow", "keras", "horovod"):
    sys.modules[name] = None
from limbeck.config.command import dispatch
from train.commands import VERBS
ended = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            dispatch("train", VERBS, line)
        except SystemExit as end:
            ended.append((end.code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def place(shared_toy):
    root = shared_toy.root
    shared_toy.sparse(root / "examples", "vocabulary", vocab_size=60)
    shared_toy.sparse(root / "examples", "partial", records=0.5)
    return root


def refusals(place, asked):
    """What one process says to all that is asked: name -> text of a recipe, and arguments.

    Returns the one line that refuses each, and the lines of its marks.
    """
    argv = []
    for number, (text, *arguments) in enumerate(asked.values()):
        path = place / f"recipe-{number}.yaml"
        path.write_text(text.replace("ROOT", str(place)))
        argv.append(["run", str(path), "--run-dir", str(place / "run"), *arguments])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(argv),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for (name, (text, *_)), line, ended in zip(
        asked.items(), argv, json.loads(done.stdout), strict=True
    ):
        code, said, error = ended
        assert code == 2 and not said and len(error.splitlines()) == 1, (name, error)
        assert not (place / "run").exists()
        marked = [n for n, line in enumerate(text.splitlines(), 1) if "# here" in line]
        found[name] = error.strip().replace(f"train run: error: {line[1]}:", "RECIPE:"), marked
    return found


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


FAMILY_OF_ANOTHER_KIND = RECIPE.replace("  signal: top", "  signal: states  # here")
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
OTHERS = {
    "kind": (FAMILY_OF_ANOTHER_KIND.replace("  signal: states\n", "  signal: top\n"),),
    "relations": (
        RECIPE.replace("- loss: hidden_mse", "- loss: relations").replace(
            "  projection: linear\n", "  relation_heads: 3  # here\n"
        ),
    ),
    "override": (RECIPE, "--set", "objective.1.student_layer=9"),
    "stage": (RECIPE.replace("  steps: 6\n", "") + STAGES,),
}


@pytest.fixture(scope="module")
def said(place):
    """The answer to every recipe of this file, and the lines of its marks."""
    asked = {name: (RECIPE.replace(old, new),) for name, (old, new, _) in CASES.items()}
    return refusals(place, {**asked, **OTHERS})


@pytest.mark.parametrize("name", CASES)
def test_bad_recipe_is_refused_with_its_line_and_without_tensorflow(said, name):
    old, _, message = CASES[name]
    assert RECIPE.count(old) == 1
    line, marked = said[name]
    assert line.startswith(f"RECIPE:{marked[0]}: "), line
    assert message in line


def test_kind_of_term_and_family_that_do_not_fit_are_refused_with_their_line(said):
    line, marked = said["kind"]
    assert line.startswith((f"RECIPE:{marked[0]}: ", "RECIPE:17: ")), line


def test_heads_of_relations_that_do_not_divide_are_refused_with_their_line(said):
    line, _ = said["relations"]
    assert line.startswith("RECIPE:2"), line


def test_override_is_the_place_of_its_mistake(said):
    line, _ = said["override"]
    assert line.startswith("train run: error: --set objective.1.student_layer=9: objective[1].stu")


def test_mistake_in_a_later_stage_is_refused_before_the_first(said):
    line, marked = said["stage"]
    assert line.startswith(f"RECIPE:{marked[0]}: objective[0]."), line
