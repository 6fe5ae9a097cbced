"""What formulas look at: `Given` on lists with padding, and on lists of partial families."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from train import formula
from train.formula import BoundTerm, Given, Outputs, formula_of
from train.reading.batch import FamilyArrays, count_items, cut, list_name
from train.recipe import Term, Wants, make_term, term

# m rows, T tokens, Q entries
M, T, D = 3, 5, 2
TOKENS = (2, 5, 3)  # of each row
HERE = (1, 0, 1)  # rows that the partial family labels


@pytest.fixture
def registry(monkeypatch):
    """Copies: what a test registers is gone after it."""
    monkeypatch.setattr(term, "_registered", dict(term._registered))
    monkeypatch.setattr(formula, "_formulas", dict(formula._formulas))


def micro_batch():
    """Three rows, and a partial family with states of every token of rows 0 and 2."""
    tokens = np.array(TOKENS)
    examples = {
        "key": np.zeros((M, 16), np.uint8),
        "ids": np.arange(M * T, dtype=np.uint16).reshape(M, T),
        "num_tokens": tokens.astype(np.uint16),
        "segment_split": tokens.astype(np.uint16),
        "mask_positions": np.array([[1, 0], [1, 4], [2, 0]], np.uint16),
        "mask_ids": np.array([[7, 0], [8, 9], [6, 0]], np.uint16),
        "num_masked": np.array([1, 2, 0], np.uint16),
    }
    counts = tokens * np.array(HERE)
    states = np.arange(counts.sum() * D, dtype=np.float16).reshape(-1, D) + 1
    family = FamilyArrays(group="all", counts=counts, fields={"states": states}, is_partial=True)
    (batch,) = cut(
        examples,
        {"some": family},
        num_real=M,
        micro_batch=M,
        num_micro=1,
        length=T,
        groups=("masked", "all", "first", list_name("all", "some")),
    )
    return batch


def given(name, batch, *, signal=False, **outputs):
    """A `Given` of the list `name`."""
    mine = (
        make_term("mlm") if not signal else make_term("hidden_mse", signal="some", student_layer=1)
    )
    bound = BoundTerm(term=mine, name="x", list=name, wants=Wants(logits=True))
    tensors = tf.nest.map_structure(tf.constant, batch)
    return Given(bound=bound, outputs=Outputs(**outputs), batch=tensors)


PLACES = {  # (row, token) of each entry, in the order of the lists
    "masked": [(0, 1), (1, 1), (1, 4)],
    "all": [(row, token) for row in range(M) for token in range(TOKENS[row])],
    "first": [(0, 0), (1, 0), (2, 0)],
    "all of some": [(row, token) for row in (0, 2) for token in range(TOKENS[row])],
}


@pytest.mark.parametrize("name", PLACES)
def test_entries_and_grid_are_each_others_inverse(name):
    batch = micro_batch()
    # Entry 0 of the grid is not 0: filled entries point there.
    per_token = np.random.default_rng(0).normal(size=(M, T, D)).astype(np.float32)
    it = given(name, batch)
    valid = it.valid.numpy()
    places = PLACES[name]
    assert valid.tolist() == [True] * len(places) + [False] * (len(valid) - len(places))
    assert it.rows.numpy()[valid].tolist() == [row for row, _ in places]
    entries = it.at_entries(tf.constant(per_token))
    assert entries.shape[-1] == D
    expected = np.array([per_token[row, token] for row, token in places])
    np.testing.assert_array_equal(entries.numpy()[valid], expected)
    grid = np.zeros((M, T, D), np.float32)
    for row, token in places:
        grid[row, token] = per_token[row, token]
    np.testing.assert_array_equal(it.on_grid(entries), grid)


@pytest.mark.parametrize("name", PLACES)
def test_entries_that_fill_a_list_reach_the_grid_neither_in_value_nor_in_gradient(name):
    batch = micro_batch()
    it = given(name, batch)
    valid = it.valid.numpy()
    assert not valid.all()
    values = np.where(valid, 2.0, np.nan).astype(np.float32)
    z = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(z)
        grid = it.on_grid(z)
        total = tf.reduce_sum(grid * tf.reshape(tf.range(1.0, M * T + 1), (M, T)))
    expected = np.zeros((M, T))
    for row, token in PLACES[name]:
        expected[row, token] = 2.0
    np.testing.assert_array_equal(grid, expected)
    weights = [1 + row * T + token for row, token in PLACES[name]]
    gradient = tape.gradient(total, z).numpy()
    np.testing.assert_array_equal(gradient[valid], weights)
    assert not gradient[~valid].any()


def test_teacher_states_of_a_partial_family_stand_at_their_own_tokens():
    batch = micro_batch()
    name = "all of some"
    batch["teacher"]["some"]["states"][~batch["items"][name]["valid"]] = np.nan
    states = given(name, batch, signal=True)
    assert states.teacher_states().dtype == tf.float32
    grid = states.on_grid(states.teacher_states()).numpy()
    assert np.isfinite(states.teacher_states()).all()
    number = 1.0
    for row in range(M):
        for token in range(T):
            labelled = HERE[row] and token < TOKENS[row]
            expected = [number, number + 1] if labelled else [0.0, 0.0]
            assert grid[row, token].tolist() == expected, (row, token)
            number += 2 * bool(labelled)


def test_partial_list_takes_logits_of_its_groups_entries():
    batch = micro_batch()
    size = len(batch["items"]["all"]["valid"])
    logits = tf.constant(np.arange(size * 4, dtype=np.float32).reshape(size, 4))
    whole = given("all", batch, logits={"all": logits})
    part = given("all of some", batch, logits={"all": logits})
    np.testing.assert_array_equal(whole.logits(), logits)
    entries = [i for i, (row, _) in enumerate(PLACES["all"]) if HERE[row]]
    np.testing.assert_array_equal(
        part.logits().numpy()[part.valid.numpy()], logits.numpy()[entries]
    )


def test_student_states_are_those_of_the_layer_at_the_entries():
    batch = micro_batch()
    states = np.random.default_rng(1).normal(size=(2, M, T, D)).astype(np.float32)
    it = given("all of some", batch, signal=True, hidden={1: tf.constant(states[0]), 4: states[1]})
    it = dataclasses.replace(it, projections=[lambda x: 10 * x, lambda x: -x])
    valid = it.valid.numpy()

    def expected(layer, factor):
        return factor * np.array([layer[row, token] for row, token in PLACES["all of some"]])

    got = {
        "own": it.student_states(),
        "other": it.student_states(4, projection=1),
        "bare": it.student_states(4, projection=None),
    }
    np.testing.assert_array_equal(got["own"].numpy()[valid], expected(states[0], 10))
    np.testing.assert_array_equal(got["other"].numpy()[valid], expected(states[1], -1))
    np.testing.assert_array_equal(got["bare"].numpy()[valid], expected(states[1], 1))


def test_head_logits_are_those_of_the_row_or_of_the_token():
    batch = micro_batch()
    rows = np.arange(M * 4, dtype=np.float32).reshape(M, 4)
    tokens = np.arange(M * T * 4, dtype=np.float32).reshape(M, T, 4)
    for logits in (rows, tokens):
        it = given("masked", batch, heads={"answer": tf.constant(logits)})
        bound = dataclasses.replace(it.bound, wants=Wants(head="answer"))
        it = dataclasses.replace(it, bound=bound)
        expected = [
            logits[row] if logits is rows else logits[row, t] for row, t in PLACES["masked"]
        ]
        np.testing.assert_array_equal(it.head_logits().numpy()[it.valid.numpy()], expected)


def test_labels_are_the_true_ids_of_the_masked():
    it = given("masked", micro_batch())
    assert it.labels.numpy()[it.valid.numpy()].tolist() == [7, 8, 9]


@pytest.mark.parametrize("name", PLACES)
def test_term_that_counts_rows_sums_the_first_entry_of_each(name):
    batch = micro_batch()
    it = given(name, batch)

    class RowTerm(type(it.term)):
        unit = "rows"

    by_rows = dataclasses.replace(it, bound=dataclasses.replace(it.bound, term=RowTerm()))
    places, size = PLACES[name], len(it.valid)
    first = [i == 0 or row != places[i - 1][0] for i, (row, _) in enumerate(places)]
    assert by_rows.summed.numpy().tolist() == first + [False] * (size - len(places))
    assert count_items([batch], [name])[by_rows.bound.count] == sum(first)
    assert it.summed.numpy().tolist() == it.valid.numpy().tolist()


def test_formula_is_that_of_the_nearest_class(registry):
    @dataclass(frozen=True, kw_only=True)
    class Plain(Term):
        loss: Literal["plain"] = "plain"

    @dataclass(frozen=True, kw_only=True)
    class Derived(Plain):
        extra: int = 0

    with pytest.raises(ValueError, match="loss plain: no formula is tied to Plain"):
        formula_of(Plain())
    formula.formula(Plain)("one")
    assert formula_of(Derived()) == "one"
    formula.formula(Derived)("two")
    assert (formula_of(Derived()), formula_of(Plain())) == ("two", "one")
