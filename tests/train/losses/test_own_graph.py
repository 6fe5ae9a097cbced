"""Losses with a written gradient, traced: equal to what they are eagerly, and nothing is kept."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from train.losses.full import full_log_probs, kl_to_log_probs
from train.losses.kl import kl_values, soft_cross_entropy_values
from train.losses.logit_values import sigmoid_cross_entropy_values
from train.losses.sampled import sampled_cross_entropy_values

N, V, K = 6, 40, 5
RNG = np.random.default_rng(0)
LOGITS, TEACHER = RNG.normal(size=(2, N, V)).astype(np.float32) * 3
IDS = np.argsort(-TEACHER, axis=-1)[:, :K].astype(np.int32)
HEAD = np.take_along_axis(TEACHER, IDS, axis=-1)
P = np.exp(TEACHER / 2.0) / np.exp(TEACHER / 2.0).sum(axis=-1, keepdims=True)
TAIL = np.log1p(-np.take_along_axis(P, IDS, axis=-1).sum(axis=-1))
WEIGHTS = np.full((N, K), 0.2, np.float32)
LOSSES = {
    "kl": lambda z: kl_values(z, IDS, HEAD, TAIL, temperature=2.0),
    "kl, a temperature each": lambda z: kl_values(
        z, IDS, HEAD, TAIL, temperature=tf.fill([N], 2.0)
    ),
    "soft_ce": lambda z: soft_cross_entropy_values(z, IDS, HEAD, TAIL, temperature=2.0),
    "full": lambda z: kl_to_log_probs(z, full_log_probs(TEACHER, temperature=2.0), temperature=2.0),
    "sampled": lambda z: sampled_cross_entropy_values(z, IDS, WEIGHTS, temperature=1.0),
    "sigmoid": lambda z: sigmoid_cross_entropy_values(z, [TEACHER], temperature=2.0),
}


def step_of(loss):
    """A step on one variable, as a trainer traces it: values and the gradient."""
    table = tf.Variable(LOGITS)

    @tf.function
    def step(scale):
        with tf.GradientTape() as tape:
            values = loss(table * scale)
        return values, tape.gradient(values, table)

    return step


@pytest.mark.parametrize("name", LOSSES)
def test_traced_loss_is_the_eager_one_and_its_step_is_let_go(name):
    loss = LOSSES[name]
    eager = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        expected = loss(eager)
    gradient = tape.gradient(expected, eager)
    step = step_of(loss)
    concrete = step.get_concrete_function(tf.TensorSpec([]))
    values, found = concrete(tf.constant(1.0))
    # Float32, and the compiler may order sums in another way.
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-6)
    graph = weakref.ref(concrete.graph)
    del step, concrete
    gc.collect()
    assert graph() is None
