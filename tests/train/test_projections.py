"""Kinds of trained maps: what they compute, where they start, and one of a user's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError, yaml_file
from train import projections
from train.inputs import open_inputs
from train.projections import make_projection, projection
from train.recipe import ProjectionPlan, Recipe, projection_kinds
from train.students.student import build_student


def plan(kind, *, name="p", source_dim=64, target_dim=32):
    return ProjectionPlan(name=name, kind=kind, source_dim=source_dim, target_dim=target_dim)


@pytest.fixture
def registry(monkeypatch):
    """Copies: what a test registers is gone after it."""
    monkeypatch.setattr(projections, "_kinds", dict(projections._kinds))
    monkeypatch.setattr(projection_kinds, "_declared", list(projection_kinds._declared))


def drawn(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("linear", lambda y: y),
        ("linear_relu", lambda y: np.maximum(y, 0)),
        ("linear_tanh", np.tanh),
    ],
)
def test_map_and_its_gradient_are_those_of_numpy(kind, after):
    mapped = make_projection(plan(kind), seed=1)
    states = drawn((2, 5, 64))
    kernel = mapped.variables["kernel"].numpy().astype(np.float64)
    bias = drawn(32)
    mapped.variables["bias"].assign(bias)
    before = states @ kernel + bias
    with tf.GradientTape() as tape:
        value = mapped(tf.constant(states))
        total = tf.reduce_sum(value)
    np.testing.assert_allclose(value, after(before), rtol=1e-4, atol=1e-5)
    step = 1e-6
    slope = (after(before + step) - after(before - step)) / (2 * step)
    gradient = tape.gradient(total, mapped.variables["bias"].value)
    np.testing.assert_allclose(gradient, slope.sum(axis=(0, 1)), rtol=1e-4, atol=1e-4)


def test_first_weights_follow_from_seed_name_and_widths():
    first, same = (make_projection(plan("linear"), seed=1) for _ in range(2))
    others = [
        make_projection(plan("linear"), seed=2),
        make_projection(plan("linear", name="q"), seed=1),
    ]
    kernel = first.variables["kernel"].numpy()
    np.testing.assert_array_equal(kernel, same.variables["kernel"])
    for other in others:
        assert (kernel != other.variables["kernel"].numpy()).any()
    # N(0, 1 / 64) from 2,048 draws: the standard deviation is known to about 2 %.
    assert kernel.std() == pytest.approx(1 / 8, rel=0.07)
    assert not first.variables["bias"].numpy().any()


def test_map_of_ones_own_is_trained_and_saved_by_its_name(registry, shared_toy):
    @projection("diagonal")
    class Diagonal:
        def __init__(self, name, *, source_dim, target_dim, seed):
            if source_dim != target_dim:
                raise ValueError(f"maps {source_dim} channels to as many, not to {target_dim}")
            self.name = name
            self.scale = keras.Variable(np.ones(source_dim, np.float32), name="scale")

        @property
        def variables(self):
            return {"scale": self.scale}

        def __call__(self, states):
            return states * self.scale.value

    term = {"loss": "pkd", "signal": "states", "student_layer": 1, "projection": "diagonal"}

    def student(hidden_dim):
        plain = shared_toy.distil(objective=[term])
        del plain["data"]["labels"]["top"]
        plain["model"]["architecture"]["hidden_dim"] = hidden_dim
        return build_student(open_inputs(yaml_file.from_plain(Recipe, plain, "recipe")))

    made = student(12)
    assert list(made.named_variables)[-1] == "projection/0_pkd/scale"
    assert made.trained[-1] is made.projections["0_pkd"].scale
    with pytest.raises(UsageError, match=r"projection '0_pkd' \(diagonal\): maps 8 channels to as"):
        student(8)
    with pytest.raises(ValueError, match="projection 'diagonal' is Diagonal already"):
        projection("diagonal")(type("Other", (), {}))


def test_unknown_kind_is_refused_before_anything_is_loaded(shared_toy):
    plain = shared_toy.distil()
    plain["objective"][2]["projection"] = "cubic"
    with pytest.raises(UsageError, match=r"objective\[2\]\.projection is 'cubic', which is none"):
        open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


def test_name_that_means_no_map_cannot_be_taken(registry):
    with pytest.raises(ValueError, match="'none': that stands for no projection"):
        projection("none")(type("Nothing", (), {}))


def test_kind_that_is_only_declared_is_refused_when_it_is_made(registry):
    projection_kinds.declare_kind("elsewhere")
    with pytest.raises(UsageError, match="'elsewhere' is declared, but no class is tied to it"):
        make_projection(plan("elsewhere"), seed=1)
