"""Terms that need statistics of the global batch, and scheduled weights, in a run's own steps."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import yaml_file
from limbeck.models.dropout import DropoutKeys
from limbeck.ranks import World
from limbeck.runs import read_metrics
from train import formula
from train.formula import Outputs
from train.inputs import open_inputs
from train.objective import bind
from train.recipe import Recipe, Term, Wants, register, term
from train.step import TrainStep, to_tensors
from train.students.forward import forward
from train.students.student import build_student


@pytest.fixture
def registry(monkeypatch):
    """Copies: what a test registers is gone after it."""
    monkeypatch.setattr(term, "_registered", dict(term._registered))
    monkeypatch.setattr(formula, "_formulas", dict(formula._formulas))


class Spread:
    """|x_q - mean|^2 with the mean x of all entries of the global batch; D channels."""

    def __call__(self, given):
        return tf.reduce_sum((given.student_states() - given.settled) ** 2, axis=-1)

    def statistics(self, given):
        return tf.reduce_sum(given.clean(given.student_states()), axis=0)

    def settle(self, total, *, count, bound):
        return (bound.term.sign * total / max(count, 1)).astype(np.float32)


@pytest.fixture
def spread(registry):
    """Makes terms of a toy loss of reach `batch`: over all tokens, or over first ones."""

    @register
    @dataclass(frozen=True, kw_only=True)
    class SpreadTerm(Term):
        loss: Literal["spread"] = "spread"
        on: str = "all"
        sign: float = 1.0

        @property
        def reach(self):
            return "batch"

        @property
        def student_layers(self):
            return (1,)

        def list_name(self, families):
            return self.on

        def wants(self, families):
            return Wants(hidden=(1,))

    formula.formula(SpreadTerm)(Spread())
    return {"loss": "spread"}


class Setup:
    """One process' parts of a run on the toy data."""

    def __init__(self, toy, objective, *, micro_batch=None, dropout=False):
        training = {"micro_batch": micro_batch, "global_batch": 7}
        plain = toy.recipe(objective=objective, training=training)
        plain = toy.dropping(plain) if dropout else plain
        inputs = open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))
        self.objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
        self.source = inputs.source(World(), self.objective.lists)
        self.student = build_student(inputs)
        self.example = self.source.read(self.source.global_rows(0)).micro[0]
        self.step = TrainStep(
            self.student,
            self.objective,
            inputs.recipe.optimizer,
            seed=3,
            example=self.example,
        )

    def at(self, position):
        """counts, settled and gradients of the batch there."""
        batch = self.source.read(self.source.global_rows(position))
        counts = self.objective.counts(batch.items)
        tensors = [to_tensors(m) for m in batch.micro]
        settled = self.step.settle(tensors, counts, step=5)
        found = self.step.gradients(
            tensors, self.objective.factors(counts), step=5, settled=settled
        )
        return counts, settled, found

    def states(self, position):
        """States of layer 1 at each list's entries, without dropout, in float64."""
        micro = to_tensors(self.source.read(self.source.global_rows(position)).micro[0])
        outputs = forward(self.student, micro, self.objective, dropout=None)["fed"]
        flat = outputs.hidden[1].numpy().reshape(-1, 8).astype(np.float64)
        items = {n: (i["index"].numpy(), i["valid"].numpy()) for n, i in micro["items"].items()}
        return {name: flat[index][valid] for name, (index, valid) in items.items()}


def flat(found):
    return np.concatenate([g.numpy().ravel() for g in found.grads])


OBJECTIVE = [
    {"loss": "spread", "weight": 0.5},
    {"loss": "mlm"},
    {"loss": "spread", "on": "first", "sign": -1.0},
]


def test_statistics_of_the_whole_batch_settle_each_term_in_its_order(shared_toy, spread):
    setup = Setup(shared_toy, OBJECTIVE)
    counts, settled, found = setup.at(7)
    states = setup.states(7)
    assert counts[[0, 2]].tolist() == [len(states["all"]), len(states["first"])]
    means = [states["all"].mean(0), -states["first"].mean(0)]
    for got, expected in zip(settled, means, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # float32 sums
    for place, name, mean in ((0, "all", means[0]), (2, "first", means[1])):
        np.testing.assert_allclose(found.sums[place], ((states[name] - mean) ** 2).sum(), rtol=1e-5)


def test_no_gradient_flows_through_what_was_settled(shared_toy, spread):
    setup = Setup(shared_toy, [OBJECTIVE[0]])
    _, settled, _ = setup.at(7)
    batch = setup.source.read(setup.source.global_rows(7))
    micro = to_tensors(batch.micro[0])
    hidden = forward(setup.student, micro, setup.objective, dropout=None)["fed"].hidden[1]
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        total = setup.objective.sums({"fed": Outputs(hidden={1: hidden})}, micro, {}, settled)
    gradient = tape.gradient(total, hidden).numpy()
    real = micro["attention_mask"].numpy().astype(bool)
    np.testing.assert_allclose(gradient[real], 2 * (hidden.numpy() - settled[0])[real], rtol=1e-6)
    assert not gradient[~real].any()


def test_statistics_see_the_dropout_of_the_gradients(shared_toy, spread):
    """The mean of just those states whose gradients are taken, and of no other step's."""
    setup = Setup(shared_toy, [OBJECTIVE[0]], dropout=True)
    _, (settled,), _ = setup.at(7)
    micro = to_tensors(setup.source.read(setup.source.global_rows(7)).micro[0])
    real = micro["attention_mask"].numpy().astype(bool)
    means = {}
    for step in (5, 6):
        dropout = DropoutKeys(
            seed=tf.constant(3), step=tf.constant(step), row_keys=micro["row_keys"]
        )
        outputs = forward(setup.student, micro, setup.objective, dropout=dropout)["fed"]
        means[step] = outputs.hidden[1].numpy()[real].mean(0)
    np.testing.assert_allclose(settled, means[5], rtol=1e-4, atol=1e-5)
    assert np.abs(settled - means[6]).max() > 1e-2


def test_cut_of_the_batch_changes_nothing_for_a_term_of_reach_batch(shared_toy, spread):
    """With dropout on; 1e-6 of the largest component, as for additive terms."""
    counts, settled, whole = Setup(shared_toy, OBJECTIVE, dropout=True).at(7)
    parts = Setup(shared_toy, OBJECTIVE, micro_batch=3, dropout=True)  # 3 + 3 + 1 rows
    parts_counts, parts_settled, parts = parts.at(7)
    np.testing.assert_array_equal(counts, parts_counts)
    for one, other in zip(settled, parts_settled, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-6)
    assert np.abs(flat(whole) - flat(parts)).max() <= 1e-6 * np.abs(flat(whole)).max()
    assert np.abs(flat(whole)).max() > 0


def test_shapes_that_vary_do_not_compile_a_term_of_reach_batch_again(shared_toy, spread):
    setup = Setup(shared_toy, OBJECTIVE)
    for position in range(0, 70, 7):
        setup.at(position)
    assert setup.step._micro.experimental_get_tracing_count() == 1
    assert setup.step._statistics.experimental_get_tracing_count() == 1


def test_scheduled_weights_follow_the_steps_of_a_run(shared_toy, tmp_path, deterministic):
    from train.loop import train

    weights = ({"schedule": "linear_growth", "weight": 2.0}, {"schedule": "linear_decay"})
    objective = [{"loss": "mlm", "weight": weight} for weight in weights]
    recipe = yaml_file.from_plain(Recipe, shared_toy.recipe(objective=objective), "recipe")
    train(recipe, tmp_path / "run", say=lambda line: None)
    lines = [m for m in read_metrics(tmp_path / "run/metrics.jsonl") if "train/loss" in m]
    assert len(lines) == 6
    for step, line in enumerate(lines):
        x = step / 6
        expected = 2 * x * line["train/loss_mlm"] + (1 - x) * line["train/loss_mlm_2"]
        assert line["train/loss"] == pytest.approx(expected, rel=1e-5)


def test_run_with_a_term_of_reach_batch_trains(shared_toy, spread, tmp_path, deterministic):
    from train.loop import train

    plain = shared_toy.recipe(objective=OBJECTIVE)
    recipe = yaml_file.from_plain(Recipe, plain, "recipe")
    result = train(recipe, tmp_path / "run", say=lambda line: None)
    assert result.finished and np.isfinite(result.loss)
