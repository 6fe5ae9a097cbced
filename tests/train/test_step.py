import dataclasses

import numpy as np
import pytest

from limbeck.config import yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.objective import bind
from train.recipe import Recipe
from train.step import TrainStep, to_tensors
from train.students.student import build_student


class Setup:
    """One rank's parts at step 5 of a run."""

    def __init__(self, toy, *, world=None, micro_batch=None, global_batch=7):
        training = {"micro_batch": micro_batch, "global_batch": global_batch}
        plain = toy.dropping(toy.distil(training=training))
        recipe = yaml_file.from_plain(Recipe, plain, "recipe")
        inputs = open_inputs(recipe)
        self.objective = bind(recipe.objective, inputs.families, inputs.student)
        self.source = inputs.source(world or World(), self.objective.lists)
        self.batch = self.source.read(self.source.global_rows(7))
        self.step = TrainStep(
            build_student(inputs),
            self.objective,
            recipe.optimizer,
            seed=recipe.seed,
            example=self.batch.micro[0],
        )

    def gradients(self, counts, *, spoil=None):
        for number, micro in enumerate(self.batch.micro):
            if spoil is not None:
                spoil(number, micro)
        tensors = [to_tensors(m) for m in self.batch.micro]
        return self.step.gradients(tensors, self.objective.factors(counts), step=5)


def flat(gradients):
    return np.concatenate([g.numpy().ravel() for g in gradients.grads])


def close(a, b):
    """Within 1e-6 of the largest component."""
    return np.abs(a - b).max() <= 1e-6 * np.abs(a).max()


@pytest.fixture(scope="module")
def whole(shared_toy):
    setup = Setup(shared_toy)
    counts = setup.objective.counts(setup.batch.items)
    return counts, setup.gradients(counts)


def test_accumulation_gives_the_gradients_of_one_batch(shared_toy, whole):
    counts, expected = whole
    parts = Setup(shared_toy, micro_batch=3)
    assert parts.source.num_micro == 3  # 3 + 3 + 1 rows and two of padding
    got = parts.gradients(counts)
    assert close(flat(expected), flat(got))
    np.testing.assert_allclose(expected.sums, got.sums, rtol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 9])
def test_sum_over_slices_is_the_gradient_of_the_batch(shared_toy, whole, size):
    counts, expected = whole
    setup = Setup(shared_toy, world=World(rank=0, size=size))
    got, got_counts = 0.0, 0
    for rank in range(size):  # one after the other, with one set of compiled functions
        source = dataclasses.replace(setup.source, world=World(rank=rank, size=size))
        setup.batch = source.read(source.global_rows(7))
        got_counts = got_counts + setup.objective.counts(setup.batch.items)
        got = got + flat(setup.gradients(counts))
    np.testing.assert_array_equal(counts, got_counts)
    assert close(flat(expected), got)


def test_padding_rows_contribute_exactly_nothing(shared_toy):
    """Labels of padding are NaN, its tokens and dropout keys are others: not a bit may change."""
    parts = Setup(shared_toy, micro_batch=4)  # 4 + 3 rows and one of padding
    counts = parts.objective.counts(parts.batch.items)
    expected = parts.gradients(counts)

    def spoil(number, micro):
        for group, family, names in (
            ("masked", "top", ("logits", "log_tail")),
            ("all", "states", ("states",)),
        ):
            padding = ~micro["items"][group]["valid"]
            for name in names:
                micro["teacher"][family][name][padding] = np.nan
        micro["teacher"]["top"]["ids"][~micro["items"]["masked"]["valid"]] = 10**6
        if number == 1:
            micro["ids"][3] = 17
            micro["row_keys"][3] = 99

    got = parts.gradients(counts, spoil=spoil)
    np.testing.assert_array_equal(flat(expected), flat(got))
    np.testing.assert_array_equal(expected.sums, got.sums)
    assert np.isfinite(flat(got)).all()


def test_dropout_is_on_and_changes_from_step_to_step(shared_toy, whole):
    counts, expected = whole
    setup = Setup(shared_toy)
    tensors = [to_tensors(m) for m in setup.batch.micro]
    factors = setup.objective.factors(counts)
    same = setup.step.gradients(tensors, factors, step=5)
    other = setup.step.gradients(tensors, factors, step=6)
    np.testing.assert_array_equal(flat(expected), flat(same))
    assert not close(flat(expected), flat(other))


def test_shapes_that_vary_do_not_compile_again(shared_toy):
    setup = Setup(shared_toy)
    for position in range(0, 280, 7):
        batch = setup.source.read(setup.source.global_rows(position))
        counts = setup.objective.counts(batch.items)
        tensors = [to_tensors(m) for m in batch.micro]
        setup.step.gradients(tensors, setup.objective.factors(counts), step=0)
    assert setup.step._micro.experimental_get_tracing_count() == 1


def test_update_clips_by_the_global_norm_and_returns_it_unclipped(shared_toy, whole):
    _, gradients = whole
    setup = Setup(shared_toy)
    scaled = type(gradients)(grads=[100.0 * g for g in gradients.grads], sums=gradients.sums)
    norm = setup.step.update(scaled, learning_rate=0.0).norm
    assert norm == pytest.approx(100 * np.linalg.norm(flat(gradients)), rel=1e-5)
    slots = [v for v in setup.step.optimizer.variables if v.name == "mean"]
    means = np.concatenate([v.numpy().ravel() for v in slots])
    assert np.linalg.norm(means) == pytest.approx(0.1, rel=1e-4)  # (1 - beta_1) * clip_norm


@pytest.mark.parametrize("part", ["grads", "sums"])
def test_update_that_is_not_finite_leaves_everything_but_the_counts_alone(shared_toy, whole, part):
    _, gradients = whole
    setup = Setup(shared_toy)
    state = [*setup.step.student.variables, *setup.step.optimizer.variables[1:]]
    before = [v.numpy() for v in state]
    bad = dict(grads=list(gradients.grads), sums=gradients.sums)
    if part == "grads":
        bad["grads"][3] = bad["grads"][3] + np.float32("inf")
    else:
        bad["sums"] = bad["sums"] * np.float32("nan")
    for in_a_row in (1, 2):
        assert setup.step.update(type(gradients)(**bad), learning_rate=0.1).outcome == "not_finite"
        assert setup.step.optimizer.skipped_in_a_row == in_a_row
    for old, variable in zip(before, state, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    assert setup.step.update(gradients, learning_rate=0.1).outcome == "applied"
    assert setup.step.optimizer.updates.numpy().tolist() == [1, 2, 0]
