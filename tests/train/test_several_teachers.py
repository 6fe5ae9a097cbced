"""Families of two teachers of different widths on the same rows, against float64 NumPy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import yaml_file
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from tests.train.conftest import P, V
from train.inputs import open_inputs
from train.objective import bind
from train.recipe import Recipe
from train.step import to_tensors
from train.students.forward import forward
from train.students.student import build_student

WIDE, NARROW, K, TAU = 20, 12, 6, 2.0
ROWS = np.arange(0, 40, 3)
OBJECTIVE = [
    {"loss": "kl", "signal": "first-top", "temperature": TAU},
    {
        "loss": "hidden_mse",
        "signal": "first-states",
        "student_layer": 1,
        "projection": "linear",
    },
    {
        "loss": "hidden_mse",
        "signal": "second-states",
        "student_layer": 1,
        "projection": "linear",
    },
]


@pytest.fixture(scope="module")
def inputs(shared_toy):
    """One teacher gives logits, of half of the rows, and states; the other wider states."""
    toy = shared_toy
    examples = toy.root / "examples"
    toy.sparse(examples, "first-top", k=K, temperatures=(1.0, TAU), records=0.5)
    toy.hidden(examples, "first-states", dim=NARROW)
    toy.hidden(examples, "second-states", dim=WIDE, positions="masked")
    names = ("first-top", "first-states", "second-states")
    data = {"examples": str(examples), "labels": {name: str(toy.root / name) for name in names}}
    plain = toy.recipe(data=data, objective=OBJECTIVE, training={"global_batch": len(ROWS)})
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


@pytest.fixture(scope="module")
def raw(shared_toy):
    """What `conftest.Toy` makes its families of: logits, and flat states of both teachers."""
    dataset = open_dataset(shared_toy.root / "examples")
    rows = dataset.read(np.arange(dataset.num_rows))
    logits = np.random.default_rng(7).normal(size=(dataset.num_rows, P, V)).astype(np.float32) * 2
    true = rows["mask_ids"].astype(np.int64)
    np.put_along_axis(logits, true[..., None], 4.0, axis=-1)
    states = {
        name: np.random.default_rng(8).normal(size=(int(counts.sum()), dim))
        for name, counts, dim in (
            ("first-states", rows["num_tokens"], NARROW),
            ("second-states", rows["num_masked"], WIDE),
        )
    }
    return rows, logits.astype(np.float64), states


def batch_of(inputs, objective, world, rows=ROWS):
    source = dataclasses.replace(inputs.source(world, objective.lists), global_batch=len(rows))
    whole = source.global_rows(0)
    return source.read(dataclasses.replace(whole, rows=rows, epochs=np.zeros(len(rows), np.int64)))


def bucket_kl(teacher, student):
    """KL over the k largest of the teacher's probabilities and the rest, both at TAU."""
    p, q = (np.exp(x / TAU - np.log(np.exp(x / TAU).sum())) for x in (teacher, student))
    kept = np.argsort(-teacher)[:K]
    p, q = (np.append(d[kept], 1 - d[kept].sum()) for d in (p, q))
    return float((p * (np.log(p) - np.log(q))).sum())


def expected_sums(inputs, raw, outputs, student):
    """S_j and N_j, and what the second and third sum change by with their maps' biases."""
    rows, logits, states = raw
    length = outputs.hidden[1].shape[1]
    hidden = outputs.hidden[1].numpy().astype(np.float64)
    predicted = outputs.logits["masked"].numpy().astype(np.float64)
    found = inputs.families["first-top"].dataset.find(ROWS)
    sums, counts, entry = np.zeros(3), np.zeros(3, np.int64), 0
    biases = [np.zeros(NARROW), np.zeros(WIDE)]
    maps = [
        {
            key: np.asarray(v.value, np.float64)
            for key, v in student.projections[name].variables.items()
        }
        for name in sorted(student.projections)
    ]
    for place, row in enumerate(ROWS.tolist()):
        masked = rows["mask_positions"][row, : rows["num_masked"][row]]
        for slot in range(len(masked)):
            if found[place] >= 0:
                sums[0] += bucket_kl(logits[row, slot], predicted[entry])
                counts[0] += 1
            entry += 1
        for term, (name, tokens) in enumerate(
            (
                ("first-states", np.arange(rows["num_tokens"][row])),
                ("second-states", masked),
            ),
            start=1,
        ):
            per_row = rows["num_tokens" if term == 1 else "num_masked"].astype(np.int64)
            start = per_row[:row].sum()
            theirs = states[name][start : start + per_row[row]]
            own = maps[term - 1]
            ours = hidden[place, tokens] @ own["kernel"] + own["bias"]
            sums[term] += ((ours - theirs) ** 2).mean(axis=1).sum()
            counts[term] += len(tokens)
            biases[term - 1] += 2 * (ours - theirs).sum(axis=0) / len(own["bias"])
    assert length >= rows["num_tokens"][ROWS].max()
    return sums, counts, biases


def test_three_families_of_two_teachers_give_the_sums_of_their_definitions(inputs, raw):
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    assert objective.terms[0].list == "masked of first-top"
    student = build_student(inputs)
    batch = batch_of(inputs, objective, World())
    (micro,) = (to_tensors(micro) for micro in batch.micro)
    maps = [student.projections[name].bias.value for name in sorted(student.projections)]
    with tf.GradientTape() as tape:
        outputs = forward(student, micro, objective, dropout=None)
        sums = objective.sums(outputs, micro, student.projections)
        loss = tf.reduce_sum(sums)
    gradients = tape.gradient(loss, maps)
    looked_at = outputs["fed"]
    expected, counts, biases = expected_sums(inputs, raw, looked_at, student)
    np.testing.assert_array_equal(objective.counts(batch.items), counts)
    assert 0 < counts[0] < counts[2] < counts[1]
    np.testing.assert_allclose(sums, expected, rtol=2e-3)  # families keep float16
    for found, wanted in zip(gradients, biases, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("size", [2, 5])
def test_ranks_add_up_to_the_sums_of_one(inputs, size):
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    student = build_student(inputs)

    def sums_of(world):
        batch = batch_of(inputs, objective, world)
        total = np.zeros(3)
        for micro in map(to_tensors, batch.micro):
            outputs = forward(student, micro, objective, dropout=None)
            total += objective.sums(outputs, micro, student.projections).numpy()
        return total, objective.counts(batch.items)

    whole, count = sums_of(World())
    parts = [sums_of(World(rank=rank, size=size)) for rank in range(size)]
    np.testing.assert_array_equal(sum(counts for _, counts in parts), count)
    np.testing.assert_allclose(sum(sums for sums, _ in parts), whole, rtol=1e-5)  # float32 sums
