import math

import numpy as np
import pytest
import tensorflow as tf

from limbeck.models.basic import Dense, Norm, activate


def test_gelu_is_exact_erf():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.astype(np.float64)]
    np.testing.assert_allclose(activate(tf.constant(x), "gelu").numpy(), expected, atol=1e-6)
    # the tanh approximation is off by up to 5e-4: the two cannot be mixed up unnoticed
    assert np.abs(activate(tf.constant(x), "gelu_tanh").numpy() - expected).max() > 1e-4


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
