import numpy as np
import pytest
import tensorflow as tf

from train.losses import masked_lm_values


def oracle(logits, true_ids):
    """Float64 values and gradient from logsumexp(z) - z_true."""
    z = logits.astype(np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    log_q = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    rows = np.arange(len(z))
    gradient = np.exp(log_q)
    gradient[rows, true_ids] -= 1.0
    return -log_q[rows, true_ids], gradient


@pytest.mark.parametrize("scale", [0.0, 3.0, 1e4])
def test_values_and_gradients_match_the_definition(scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=scale, size=(6, 30)).astype(np.float32)
    true_ids = rng.integers(0, 30, 6)
    student = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = masked_lm_values(student, tf.constant(true_ids))
    expected, expected_gradient = oracle(logits, true_ids)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(values, student), expected_gradient, atol=1e-6)


def test_equal_logits_give_the_log_of_the_vocabulary():
    values = masked_lm_values(tf.zeros([2, 8]), tf.constant([0, 7], tf.uint16))
    np.testing.assert_allclose(values, np.log(8), rtol=1e-6)


def test_half_precision_student_is_computed_in_float32():
    values = masked_lm_values(tf.cast([[0.0, 60000.0]], tf.float16), tf.constant([0]))
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, [60000.0], rtol=1e-3)
