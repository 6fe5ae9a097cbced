import numpy as np
import pytest
import tensorflow as tf

from limbeck.models.rotary import rotary, rotate


def test_pairs_turn_as_complex_numbers():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32)
    turned = rotate(tf.constant(x), rotary(5, 8, theta=100.0)).numpy()
    pairs = x[..., :4] + 1j * x[..., 4:]
    angles = np.arange(5)[:, None] * 100.0 ** (-2 * np.arange(4) / 8)
    expected = pairs * np.exp(1j * angles)
    np.testing.assert_allclose(
        turned, np.concatenate([expected.real, expected.imag], -1), atol=1e-5
    )


def test_products_depend_on_the_distance_alone():
    rng = np.random.default_rng(0)
    query, key = (np.broadcast_to(rng.normal(size=(8,)), (1, 1, 9, 8)) for _ in range(2))
    rotation = rotary(9, 8, theta=10000.0)
    query, key = (rotate(tf.constant(x, tf.float32), rotation).numpy()[0, 0] for x in (query, key))
    products = query @ key.T
    for distance in range(9):
        diagonal = np.diagonal(products, -distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
    assert products[0, 0] != pytest.approx(products[3, 0])


def test_rotation_keeps_the_type():
    x = tf.ones((1, 1, 2, 4), tf.bfloat16)
    assert rotate(x, rotary(2, 4, theta=10.0)).dtype == tf.bfloat16
