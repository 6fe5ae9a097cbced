"""What is printed before a run starts: every derived number."""

import pytest

from limbeck.config import yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.objective import bind
from train.recipe import Recipe
from train.starting.plan import plan_lines
from train.students.student import build_student


@pytest.fixture
def plan(toy):
    def lines(world, **changes):
        toy.examples()
        recipe = yaml_file.from_plain(Recipe, toy.recipe(**changes), "recipe")
        inputs = open_inputs(recipe)
        objective = bind(recipe.objective, inputs.families, inputs.student)
        source = inputs.source(world, objective.lists)
        student = build_student(inputs)
        found = plan_lines(inputs, source, world, student=student, promise="none")
        return {line[:10].strip(): line[10:] for line in found}

    return lines


def test_batch_of_a_rank_and_the_optimiser_are_derived(plan):
    lines = plan(
        World(rank=0, size=3),
        training={"global_batch": 20, "micro_batch": 4, "wire": "float16"},
        optimizer={
            "algorithm": "lamb",
            "bias_correction": False,
            "layer_decay": 0.5,
            "no_decay": ["encoder/embeddings"],
            "decay": "cosine",
            "final_rate": 0.1,
        },
    )
    assert lines["batch"] == (
        "20 rows = 3 rank(s) x 2 micro-batch(es) x 4 rows, of which 6 or 7 a rank are real and the "
        "rest padding of weight 0; gradients travel as float16"
    )
    # Matrices outside of the embeddings: 4 of 8 x 8 in attention, 2 of 8 x 16, the head's 8 x 8.
    assert lines["optimiser"] == (
        "lamb without bias correction, weight decay 0.01 on 576 parameters, norm <= 1, rates times "
        "0.5, 1 by variable"
    )
    assert lines["rate"] == "up to 0.01 over 2 steps, then cosine down to 0.001"


def test_what_is_plain_is_said_plainly(plan):
    lines = plan(
        World(),
        training={"global_batch": 8},
        optimizer={"algorithm": "adam", "clip_norm": None, "decay": "constant", "warmup_steps": 0},
    )
    assert lines["batch"] == "8 rows = 1 rank(s) x 1 micro-batch(es) x 8 rows"
    assert lines["optimiser"] == "adam, no clipping"
    assert lines["rate"] == "0.01 from the first step, then constant"
