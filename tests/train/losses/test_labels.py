"""Losses on labels against float64 NumPy, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.labels import binary_values, class_values, span_values, squared_values

rng = np.random.default_rng(0)


def with_gradient(function, logits, *rest):
    """Values and d(sum of the values)/d(logits)."""
    x = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = function(x, *[tf.constant(r) for r in rest])
        total = tf.reduce_sum(values)
    return values.numpy(), tape.gradient(total, x).numpy()


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(z):
    shifted = z - z.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("scale", [1.0, 100.0])  # 100: differences that no softmax survives naively
def test_class_values_are_those_of_the_definition(scale):
    z, y = rng.normal(size=(5, 4)) * scale, np.array([0, 3, 1, 2, 2], np.int32)
    values, grad = with_gradient(class_values, z, y)
    z = z.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(values, -log_softmax(z)[np.arange(5), y], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad, softmax(z) - np.eye(4)[y], atol=1e-6)  # float32


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_binary_values_are_those_of_the_definition(scale):
    z = (rng.normal(size=(5, 3)) * scale).astype(np.float32).astype(np.float64)
    y = rng.integers(0, 2, (5, 3)).astype(np.float32)
    values, grad = with_gradient(binary_values, z, y)
    expected = (np.logaddexp(0.0, z) - y * z).mean(-1)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    sigmoid = 0.5 * (1.0 + np.tanh(z / 2))
    np.testing.assert_allclose(grad, (sigmoid - y) / 3, atol=1e-6)
    assert np.isfinite(grad).all()


def test_squared_values_are_those_of_the_definition():
    z, y = rng.normal(size=(5, 1)), rng.normal(size=5).astype(np.float32)
    values, grad = with_gradient(squared_values, z, y)
    np.testing.assert_allclose(values, (z[:, 0] - y) ** 2, rtol=1e-5)
    np.testing.assert_allclose(grad[:, 0], 2 * (z[:, 0] - y), rtol=1e-4)


def test_span_values_are_means_of_both_ends_over_real_tokens_only():
    lengths = np.array([7, 4, 1])
    z = rng.normal(size=(3, 7, 2)) * 5
    spans = np.array([[2, 6], [1, 1], [0, 0]], np.int32)
    real = (np.arange(7) < lengths[:, None]).astype(np.int32)
    values, grad = with_gradient(span_values, z, spans, real)
    for row, n in enumerate(lengths):
        log_p = log_softmax(z[row, :n].T)
        expected = -(log_p[0, spans[row, 0]] + log_p[1, spans[row, 1]]) / 2
        assert values[row] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        p = softmax(z[row, :n].T)
        for end in (0, 1):
            p[end, spans[row, end]] -= 1
        np.testing.assert_allclose(grad[row, :n], p.T / 2, atol=1e-6)
        assert (grad[row, n:] == 0).all()  # padding has no part


def test_span_values_do_not_depend_on_the_padding():
    z, spans = rng.normal(size=(1, 5, 2)), np.array([[1, 3]], np.int32)
    short, _ = with_gradient(span_values, z, spans, np.ones((1, 5), np.int32))
    padded = np.concatenate([z, rng.normal(size=(1, 3, 2)) * 1e4], axis=1)
    real = np.array([[1] * 5 + [0] * 3], np.int32)
    longer, grad = with_gradient(span_values, padded, spans, real)
    np.testing.assert_allclose(longer, short, rtol=1e-6)
    assert np.isfinite(grad).all()
