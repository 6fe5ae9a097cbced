"""Terms of a family that labels some rows only: absent rows weigh 0 and count nothing."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.objective import bind
from train.recipe import Recipe
from train.step import to_tensors
from train.students.forward import forward
from train.students.student import build_student

HIDDEN = {"loss": "hidden_mse", "signal": "states", "student_layer": 1, "projection": "linear"}
OBJECTIVE = [{"loss": "kl", "signal": "top"}, {"loss": "mlm"}, HIDDEN]


def opened(toy, top, states):
    plain = toy.distil(objective=OBJECTIVE)
    plain["data"]["labels"] = {"top": str(toy.root / top), "states": str(toy.root / states)}
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


def sums_and_counts(inputs, *, rows=None, world=None):
    """S_j and N_j of the first batch (or of some rows of it), one rank after the other."""
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    source = inputs.source(world or World(), objective.lists)
    whole = source.global_rows(0)
    if rows is not None:
        whole = dataclasses.replace(whole, rows=rows, positions=whole.positions[: len(rows)])
    batch = source.read(whole)
    student = build_student(inputs)
    sums = np.zeros(len(objective.terms))
    for micro in batch.micro:
        tensors = to_tensors(micro)
        outputs = forward(student, tensors, objective, dropout=None)
        projections = student.projections
        sums += objective.sums(outputs, tensors, projections).numpy()
    return sums, objective.counts(batch.items)


def test_absent_rows_leave_the_terms_of_their_family_alone(toy):
    examples = toy.all_families()
    toy.sparse(examples, "some", records=0.5)
    toy.hidden(examples, "some-states", records=0.4)
    partial, full = opened(toy, "some", "some-states"), opened(toy, "top", "states")
    batch = partial.order.batch_rows(0, 7).rows
    sums, counts = sums_and_counts(partial)
    expected_sums, expected_counts = sums_and_counts(full)
    for term, name in ((0, "top"), (2, "states")):
        there = batch[partial.families[name].dataset.find(batch) >= 0]
        assert 0 < len(there) < 7
        # The full family over these rows alone; the two hold one teacher's answers up to the
        # random numbers of the toy, so counts are compared, and sums with the family's own.
        _, own = sums_and_counts(full, rows=there)
        assert counts[term] == own[term]
        assert sums[term] > 0
    # The other term sees every row.
    assert counts[1] == expected_counts[1]
    np.testing.assert_allclose(sums[1], expected_sums[1], rtol=1e-6)  # float32 sums
    alone, _ = sums_and_counts(
        partial, rows=batch[partial.families["top"].dataset.find(batch) >= 0]
    )
    np.testing.assert_allclose(alone[0], sums[0], rtol=1e-5)  # the same rows in another batch


@pytest.mark.parametrize("size", [2, 9])
def test_ranks_add_up_to_one(toy, size):
    examples = toy.all_families()
    toy.sparse(examples, "some", records=0.3)
    inputs = opened(toy, "some", "states")
    whole = sums_and_counts(inputs)
    parts = [sums_and_counts(inputs, world=World(rank=rank, size=size)) for rank in range(size)]
    np.testing.assert_array_equal(sum(counts for _, counts in parts), whole[1])
    np.testing.assert_allclose(sum(sums for sums, _ in parts), whole[0], rtol=1e-5)


def test_gradient_is_finite_where_no_row_is_labelled(toy):
    examples = toy.all_families()
    toy.sparse(examples, "some", records=0.05)
    inputs = opened(toy, "some", "states")
    absent = np.flatnonzero(inputs.families["top"].dataset.find(np.arange(40)) < 0)[:7]
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    source = inputs.source(World(), objective.lists)
    whole = dataclasses.replace(source.global_rows(0), rows=absent)
    batch = source.read(whole)
    factors = objective.factors(objective.counts(batch.items))
    assert factors[0] == 0
    student = build_student(inputs)
    tensors = to_tensors(batch.micro[0])
    with tf.GradientTape() as tape:
        outputs = forward(student, tensors, objective, dropout=None)
        loss = tf.reduce_sum(objective.sums(outputs, tensors, student.projections) * factors)
    gradients = tape.gradient(loss, [v.value for v in student.variables])
    assert all(np.isfinite(g.numpy()).all() for g in gradients if g is not None)
