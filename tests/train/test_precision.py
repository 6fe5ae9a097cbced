"""Training in 16 bits: gradients near float32's, overflow skipped, resumed to the same bytes."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import yaml_file
from limbeck.ranks import World
from train.checkpoints import checkpoint
from train.inputs import open_inputs
from train.loop import train
from train.objective import bind
from train.recipe import Recipe
from train.step import TrainStep, to_tensors
from train.students.student import build_student
from train.updates.loss_scale import GROW_EVERY, START, LossScale

pytestmark = pytest.mark.usefixtures("deterministic")


def recipe_of(toy, precision, **training):
    plain = toy.distil(training={"precision": precision, **training})
    return yaml_file.from_plain(Recipe, plain, "recipe")


def make_step(toy, precision):
    """The compiled step of a run, and a function that computes the gradients of its first batch."""
    recipe = recipe_of(toy, precision)
    inputs = open_inputs(recipe)
    objective = bind(recipe.objective, inputs.families, inputs.student)
    source = inputs.source(World(), objective.lists)
    batch = source.read(source.global_rows(0))
    step = TrainStep(
        build_student(inputs),
        objective,
        recipe.optimizer,
        seed=recipe.seed,
        example=batch.micro[0],
        precision=precision,
    )
    factors = objective.factors(objective.counts(batch.items))
    tensors = [to_tensors(micro) for micro in batch.micro]
    return step, lambda: step.gradients(tensors, factors, step=0)


def flat(gradients):
    return np.concatenate([g.numpy().ravel() for g in gradients.grads])


def weights(step):
    return [variable.numpy() for variable in step.student.variables]


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    # Rounding to 8 and 11 bits in every product of a one-layer model, as a share of the norm.
    [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)],
)
def test_gradients_are_those_of_float32_up_to_rounding(shared_toy, precision, tolerance):
    expected = make_step(shared_toy, "float32")[1]()
    step, gradients = make_step(shared_toy, precision)
    got = gradients()
    scale = START if step.loss_scale is not None else 1.0
    wanted = flat(expected)
    difference = np.linalg.norm(flat(got) / scale - wanted) / np.linalg.norm(wanted)
    assert 0 < difference < tolerance
    np.testing.assert_allclose(got.sums, expected.sums, rtol=tolerance)


def test_scale_of_the_loss_leaves_no_trace_in_the_update(shared_toy):
    results = []
    for scale in (2.0**8, 2.0**12):
        step, gradients = make_step(shared_toy, "mixed_float16")
        step.loss_scale.scale.assign(scale)
        update = step.update(gradients(), learning_rate=0.01)
        assert update.outcome == "applied"
        results.append((update.norm, weights(step)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-2)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        # Adam's first step is about lr * sign(g): a tiny gradient may change sign.
        assert np.mean(np.abs(one - other)) < 0.001


def test_overflow_skips_the_step_and_halves_the_scale(shared_toy):
    step, gradients = make_step(shared_toy, "mixed_float16")
    before = weights(step)
    step.loss_scale.scale.assign(2.0**40)
    update = step.update(gradients(), learning_rate=0.01)
    assert update.outcome == "overflow" and not np.isfinite(update.norm)
    assert float(step.loss_scale.scale.value) == 2.0**39
    assert step.optimizer.updates.numpy().tolist() == [0, 1, 0]
    for old, new in zip(before, weights(step), strict=True):
        np.testing.assert_array_equal(old, new)


def test_gradients_that_are_never_finite_are_not_skipped_for_ever(shared_toy):
    step, gradients = make_step(shared_toy, "mixed_float16")
    bad = gradients()
    bad = type(bad)(grads=[g * np.nan for g in bad.grads], sums=bad.sums)
    outcomes = [step.update(bad, learning_rate=0.01).outcome for _ in range(18)]
    assert outcomes == ["overflow"] * 16 + ["not_finite"] * 2  # 2^15 halved 16 times is below 1
    assert float(step.loss_scale.scale.value) == 0.5
    assert step.optimizer.skipped_in_a_row == 2


def test_loss_that_is_not_finite_is_not_blamed_on_the_scale(shared_toy):
    step, gradients = make_step(shared_toy, "mixed_float16")
    bad = gradients()
    bad = type(bad)(grads=[g * np.nan for g in bad.grads], sums=bad.sums * np.nan)
    assert step.update(bad, learning_rate=0.01).outcome == "not_finite"
    assert float(step.loss_scale.scale.value) == START


def test_scale_grows_after_good_steps_in_a_row():
    scale = LossScale()
    scale.good.assign(GROW_EVERY - 2)
    yes, no = tf.constant(True), tf.constant(False)
    scale.settle(yes)
    assert float(scale.scale.value) == START
    scale.settle(yes)
    assert (float(scale.scale.value), float(scale.good.value)) == (2 * START, 0)
    scale.settle(yes)
    scale.settle(no)
    assert (float(scale.scale.value), float(scale.good.value)) == (START, 0)


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"]
)
def test_run_goes_on_to_the_same_bytes(toy, precision):
    toy.all_families()
    recipe = recipe_of(toy, precision, steps=6, checkpoint_every=3, log_every=1)
    train(recipe, toy.root / "whole", say=lambda line: None)

    def die_at_four(line):
        if line.startswith("step 4/"):
            raise Stop

    with pytest.raises(Stop):
        train(recipe, toy.root / "cut", say=die_at_four)
    train(recipe, toy.root / "cut", say=lambda line: None)
    ends = [checkpoint.load_newest(toy.root / name / "checkpoints") for name in ("whole", "cut")]
    assert ends[0].tensors.keys() == ends[1].tensors.keys()
    assert ("loss_scale/scale" in ends[0].tensors) == (precision == "mixed_float16")
    for name, tensor in ends[0].tensors.items():
        np.testing.assert_array_equal(tensor, ends[1].tensors[name])
        assert tensor.dtype == np.float32 or name.startswith("optimizer/")
