import dataclasses

import numpy as np
import pytest

from limbeck.config.errors import UsageError
from limbeck.models.constructions import Importance, narrow
from limbeck.models.constructions.axes import axes_of
from limbeck.models.constructions.importance import importance_of_weights

LAYER = "encoder/layer_1/"
FAMILIES = [
    {},
    {"family": "distilbert", "type_vocab_size": 0},
    {"family": "roberta", "position_offset": 1},
    {"family": "electra", "embedding_dim": 8},
    {"family": "albert", "embedding_dim": 8, "shared_layers": True},
    {"family": "megatron-bert", "norm_position": "pre"},
]


def changed(teacher, **tensors):
    """The teacher with some tensors of others' values."""
    return dataclasses.replace(teacher, tensors={**teacher.tensors, **tensors})


def attention(tensors, prefix, states, head_dim):
    """Self-attention of one layer in NumPy: (T, D) -> (T, D)."""

    def dense(name, x):
        return (
            x @ tensors[f"{prefix}attention/{name}/kernel"]
            + tensors[f"{prefix}attention/{name}/bias"]
        )

    query, key, value = (dense(name, states) for name in ("query", "key", "value"))
    parts = []
    for begin in range(0, query.shape[1], head_dim):
        part = slice(begin, begin + head_dim)
        scores = np.exp(query[:, part] @ key[:, part].T / np.sqrt(head_dim))
        parts.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, part])
    return dense("output", np.concatenate(parts, axis=1))


@pytest.mark.parametrize("shape", FAMILIES)
def test_reordered_units_compute_the_same(make_teacher, run, shape):
    teacher = make_teacher(**shape)
    made = narrow(teacher)
    assert made.architecture == teacher.architecture
    kernel = "encoder/layer_0/feed_forward/inner/kernel"
    assert not np.array_equal(made.tensors[kernel], teacher.tensors[kernel])
    assert made.origins[kernel] == f"{kernel}, reordered"
    # The same sums in another order, in float32; logits are of the order of 10.
    np.testing.assert_allclose(run(made)[0], run(teacher)[0], atol=1e-4)


def test_units_stand_in_the_order_of_their_scores(make_teacher):
    again = importance_of_weights(narrow(make_teacher()))
    for scores in (again.hidden, *again.heads, *again.neurons):
        assert (np.diff(scores) <= 1e-9).all()


def test_scores_are_those_of_the_definition(make_teacher):
    teacher = make_teacher()
    tensors, scores = teacher.tensors, importance_of_weights(teacher)
    inner, bias, outer = (
        tensors[f"{LAYER}feed_forward/{name}"]
        for name in ("inner/kernel", "inner/bias", "outer/kernel")
    )
    neuron = np.sqrt((inner[:, 7] ** 2).sum() + bias[7] ** 2) * np.sqrt((outer[7] ** 2).sum())
    np.testing.assert_allclose(scores.neurons[1, 7], neuron, rtol=1e-5)
    value, bias, output = (
        tensors[f"{LAYER}attention/{name}"]
        for name in ("value/kernel", "value/bias", "output/kernel")
    )
    head = slice(8, 12)  # number 2, 4 wide
    expected = np.sqrt((value[:, head] ** 2).sum() + (bias[head] ** 2).sum())
    expected *= np.sqrt((output[head] ** 2).sum())
    np.testing.assert_allclose(scores.heads[1, 2], expected, rtol=1e-5)
    total = 0.0
    for name, tensor in tensors.items():
        for axis, counted in enumerate(axes_of(name, teacher.architecture)):
            if counted == "hidden":
                total += (np.take(tensor, 5, axis) ** 2).sum() / (tensor**2).sum()
    np.testing.assert_allclose(scores.hidden[5], np.sqrt(total), rtol=1e-5)


@pytest.mark.parametrize("part", ["inner", "outer"])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
def test_cutting_neurons_of_no_importance_changes_nothing(make_teacher, run, part, activation):
    teacher = make_teacher(activation=activation)
    dead = np.random.default_rng(1).permutation(20)[:8]
    zeroed = {}
    for layer in range(4):
        stem = f"encoder/layer_{layer}/feed_forward/{part}"
        kernel = teacher.tensors[f"{stem}/kernel"].copy()
        kernel[(slice(None), dead) if part == "inner" else dead] = 0.0
        zeroed[f"{stem}/kernel"] = kernel
        if part == "inner":
            bias = teacher.tensors[f"{stem}/bias"].copy()
            bias[dead] = 0.0
            zeroed[f"{stem}/bias"] = bias
    teacher = changed(teacher, **zeroed)
    made = narrow(teacher, intermediate_dim=12)
    assert made.tensors[f"{LAYER}feed_forward/inner/kernel"].shape == (24, 12)
    np.testing.assert_allclose(run(made)[0], run(teacher)[0], atol=1e-4)  # another order


def test_cutting_heads_of_no_importance_leaves_attention_as_it_was(make_teacher):
    teacher = make_teacher()
    kernel = teacher.tensors[f"{LAYER}attention/output/kernel"].copy()
    kernel[4:8] = kernel[12:16] = 0.0  # heads 1 and 3 of 4 components
    teacher = changed(teacher, **{f"{LAYER}attention/output/kernel": kernel})
    assert set(np.flatnonzero(importance_of_weights(teacher).heads[1] == 0)) == {1, 3}
    made = narrow(teacher, hidden_dim=16)
    kept = np.argsort(-importance_of_weights(teacher).hidden, kind="stable")[:16]
    states = np.zeros((5, 24))
    states[:, kept] = np.random.default_rng(2).normal(size=(5, 16))  # what is cut, is 0
    expected = attention(teacher.tensors, LAYER, states, 4)[:, kept]
    got = attention(made.tensors, LAYER, states[:, kept], 4)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("shape", FAMILIES)
def test_narrow_student_fits_its_architecture_and_runs(make_teacher, run, shape):
    made = narrow(make_teacher(**shape), hidden_dim=12, intermediate_dim=5)
    assert (made.architecture.num_heads, made.architecture.head_dim) == (3, 4)
    logits, hidden = run(made)
    assert np.isfinite(logits).all() and hidden[1].shape[-1] == 12
    assert "hidden 24 -> 12, heads 6 -> 3 of 4, neurons 20 -> 5" in made.lines[0]
    assert made.origins["encoder/layer_0/feed_forward/outer/kernel"].endswith("5 x 12 of 20 x 24")


def test_measured_importance_decides(make_teacher):
    teacher = make_teacher()
    rng = np.random.default_rng(4)
    scores = {"hidden": rng.random(24), "heads": rng.random((4, 6)), "neurons": rng.random((4, 20))}
    importance = Importance.from_tensors(scores, teacher.architecture, where="scores")
    made = narrow(teacher, hidden_dim=8, intermediate_dim=3, importance=importance)
    hidden, neurons = np.argsort(-scores["hidden"])[:8], np.argsort(-scores["neurons"][1])[:3]
    expected = teacher.tensors[f"{LAYER}feed_forward/inner/kernel"][np.ix_(hidden, neurons)]
    np.testing.assert_array_equal(made.tensors[f"{LAYER}feed_forward/inner/kernel"], expected)
    components = [4 * head + i for head in np.argsort(-scores["heads"][1])[:2] for i in range(4)]
    expected = teacher.tensors[f"{LAYER}attention/query/bias"][components]
    np.testing.assert_array_equal(made.tensors[f"{LAYER}attention/query/bias"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": None}, "scores: no tensor heads"),
        ({"heads": np.ones((4, 5))}, r"heads has shape \(4, 5\); \(4, 6\) is expected"),
        ({"hidden": np.full(24, np.nan)}, "hidden holds a number that is NaN"),
        ({"neurons": np.full((4, 20), -1.0)}, "neurons holds"),
    ],
)
def test_importance_that_does_not_fit_is_refused(make_teacher, change, message):
    scores = {"hidden": np.ones(24), "heads": np.ones((4, 6)), "neurons": np.ones((4, 20))}
    scores = {name: s for name, s in {**scores, **change}.items() if s is not None}
    with pytest.raises(UsageError, match=message):
        Importance.from_tensors(scores, make_teacher().architecture, where="scores")


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"hidden_dim": 28}, "hidden_dim is 28; the teacher's is 24"),
        ({"hidden_dim": 10}, "10 is no multiple of the head width 4"),
        ({"intermediate_dim": 0}, "intermediate_dim is 0"),
    ],
)
def test_width_that_does_not_fit_is_refused(make_teacher, widths, message):
    with pytest.raises(UsageError, match=message):
        narrow(make_teacher(), **widths)


def test_heads_and_poolers_beside_the_encoder_are_cut_with_it(make_teacher):
    teacher = make_teacher()
    more = {
        "pooler/kernel": np.arange(576.0).reshape(24, 24),
        "classifier/kernel": np.ones((24, 3)),
    }
    origins = {**teacher.origins, **{name: name for name in more}}
    made = narrow(dataclasses.replace(changed(teacher, **more), origins=origins), hidden_dim=12)
    order = np.argsort(-importance_of_weights(changed(teacher, **more)).hidden, kind="stable")[:12]
    np.testing.assert_array_equal(
        made.tensors["pooler/kernel"], more["pooler/kernel"][np.ix_(order, order)]
    )
    assert made.tensors["classifier/kernel"].shape == (12, 3)
