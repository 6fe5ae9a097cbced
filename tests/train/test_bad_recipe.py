"""Recipes that fit neither their data nor themselves: one line with file and line, exit code 2.

All of it is found before TensorFlow is loaded, so nothing is on a device yet.
"""

import pytest

from tests.train.refusing import refusals

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


@pytest.fixture(scope="module")
def place(shared_toy):
    root = shared_toy.root
    shared_toy.sparse(root / "examples", "vocabulary", vocab_size=60)
    shared_toy.sparse(root / "examples", "partial", records=0.5)
    return root


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
    "nothing of that name to freeze": (
        "model:\n",
        "model:\n  freeze: [encoder/layer_7]  # here\n",
        "model.freeze: no variable of the student is or begins with 'encoder/layer_7'",
    ),
    "everything frozen": (
        "model:\n",
        "model:\n  freeze: [encoder, head]  # here\n",
        "model.freeze: all variables",
    ),
    "weight zero at each step": (
        "weight: 0.5",
        "weight: {schedule: staged, until: [0.9], weights: [0, 1]}  # here",
        "objective[0].weight: 0 at each of the 6 steps",
    ),
    "name of a map that is none": (
        "projection: linear",
        "projection: linear\n  projection_name: 2_top  # here",
        "projection_name is '2_top'; it must begin with a letter",
    ),
    "positions of a family that has no others": (
        "temperature: 2.0",
        "temperature: 2.0\n  positions: masked  # here",
        "objective[0].positions is masked, and 'top' labels just these",
    ),
    "positions of a family that lacks them": (
        "temperature: 2.0",
        "temperature: 2.0\n  positions: first  # here",
        "objective[0].positions is first, but 'top' is sparse at positions masked",
    ),
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
SHARED = "  projection: {}\n  projection_name: both\n"
SHARED_TOO = """\
- loss: pkd
  signal: states
  student_layer: 0
  projection: linear_tanh
  projection_name: both  # here
"""
SHARED_STAGE = """\
stages:
- name: first
  steps: 3
- name: second
  steps: 3
  objective:
  - loss: hidden_mse
    signal: states
    student_layer: 1
    projection: linear
    projection_name: both
  - loss: pkd
    signal: states
    student_layer: 1
    projection: linear_tanh
    projection_name: both  # here
"""
OTHERS = {
    "kind": (FAMILY_OF_ANOTHER_KIND.replace("  signal: states\n", "  signal: top\n"),),
    "relations": (
        RECIPE.replace("- loss: hidden_mse", "- loss: relations").replace(
            "  projection: linear\n", "  relation_heads: 3  # here\n"
        ),
    ),
    "shared map": (RECIPE.replace("  projection: linear\n", SHARED.format("linear") + SHARED_TOO),),
    "shared map of a stage": (RECIPE.replace("  steps: 6\n", "") + SHARED_STAGE,),
    "frozen in a stage": (
        RECIPE.replace("  steps: 6\n", "")
        + "stages:\n- name: first\n  steps: 3\n- name: second\n  steps: 3\n"
        + "  freeze: [encoder/layer_7]  # here\n",
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


@pytest.mark.parametrize("name", ["shared map", "shared map of a stage", "frozen in a stage"])
def test_student_that_cannot_be_made_is_refused_before_anything_is_loaded(said, name):
    line, marked = said[name]
    assert line.startswith(f"RECIPE:{marked[0]}: "), line
    assert "'both' is a linear_tanh map from 8 to 12 here" in line or "encoder/layer_7" in line
