import math

import numpy as np
import pytest
import tensorflow as tf

from limbeck.models.basic import Dense, Norm, RMSNorm, activate, made_with


def test_gelu_is_exact_erf():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.astype(np.float64)]
    np.testing.assert_allclose(activate(tf.constant(x), "gelu").numpy(), expected, atol=1e-6)
    # the tanh approximation is off by up to 5e-4: the two cannot be mixed up unnoticed
    assert np.abs(activate(tf.constant(x), "gelu_tanh").numpy() - expected).max() > 1e-4


def test_silu_is_x_times_sigmoid():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    expected = x / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(activate(tf.constant(x), "silu").numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "gelu", "relu"])
def test_dense_is_a_product_a_bias_and_an_activation(check_layer, activation):
    layer = Dense(3, 5, activation=activation, name="dense")
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    output = check_layer(
        layer, x, output_shape=(2, 4, 5), variables={"kernel": (3, 5), "bias": (5,)}
    )
    linear = x @ np.asarray(layer.kernel) + np.asarray(layer.bias)
    expected = linear if activation is None else activate(tf.constant(linear), activation)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_norm_equals_numpy(check_layer):
    layer = Norm(6, epsilon=1e-12, name="norm")
    x = np.random.default_rng(1).normal(2, 3, size=(2, 4, 6)).astype(np.float32)
    output = check_layer(layer, x, output_shape=(2, 4, 6), variables={"gamma": (6,), "beta": (6,)})
    wide = x.astype(np.float64)
    normal = (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True)
    expected = normal * np.asarray(layer.gamma) + np.asarray(layer.beta)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


def test_dense_without_bias_is_a_product(check_layer):
    layer = Dense(3, 5, has_bias=False, name="dense")
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    output = check_layer(layer, x, output_shape=(2, 4, 5), variables={"kernel": (3, 5)})
    np.testing.assert_allclose(output, x @ np.asarray(layer.kernel), rtol=1e-5, atol=1e-6)


def test_rms_norm_equals_numpy(check_layer):
    layer = RMSNorm(6, epsilon=0.1, name="norm")
    x = np.random.default_rng(1).normal(2, 3, size=(2, 4, 6)).astype(np.float32)
    output = check_layer(layer, x, output_shape=(2, 4, 6), variables={"gamma": (6,)})
    wide = x.astype(np.float64)
    normal = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 0.1)
    np.testing.assert_allclose(output, normal * np.asarray(layer.gamma), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [Norm, RMSNorm])
def test_norm_of_a_mixed_policy_computes_in_float32(kind):
    with made_with("mixed_float16"):
        layer = kind(4, epsilon=1e-5)
    layer.build()
    layer.gamma.assign(np.ones(4))
    x = tf.constant([[300.0, -300.0, 500.0, 400.0]], tf.float16)  # squares overflow in float16
    output = layer(x)
    assert output.dtype == tf.float16 and np.isfinite(output.numpy()).all()
    assert np.abs(output.numpy()).max() > 0.5
