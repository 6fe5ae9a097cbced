"""Targets of several teachers against float64 NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.full import full_log_probs, kl_to_log_probs, soft_cross_entropy_to_log_probs
from train.losses.teachers import mean_logits, mixture_log_probs, shift_to_labels

SHARES = (0.2, 0.5, 0.3)


def logits(seed, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(6, 20)).astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def teachers(scale=3.0):
    return [logits(seed, scale) for seed in (1, 2, 3)]


def test_mean_of_logits_is_the_weighted_sum():
    expected = sum(w * z.astype(np.float64) for w, z in zip(SHARES, teachers(), strict=True))
    np.testing.assert_allclose(mean_logits(teachers(), SHARES), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e3])
def test_mixture_is_the_weighted_mean_of_probabilities(temperature, scale):
    found = mixture_log_probs(teachers(scale), SHARES, temperature=temperature).numpy()
    each = [softmax(z.astype(np.float64) / temperature) for z in teachers(scale)]
    expected = sum(w * p for w, p in zip(SHARES, each, strict=True))
    np.testing.assert_allclose(np.exp(found), expected, rtol=2e-5, atol=1e-7)
    assert np.isfinite(found).all()  # in log space, where probabilities are 0


def test_mixture_takes_a_temperature_for_each_entry():
    temperatures = np.array([1, 2, 3, 4, 5, 6], np.float32)
    found = mixture_log_probs(teachers(), SHARES, temperature=tf.constant(temperatures)).numpy()
    for row, temperature in enumerate(temperatures):
        alone = mixture_log_probs(teachers(), SHARES, temperature=float(temperature))
        np.testing.assert_allclose(found[row], alone[row], rtol=1e-5, atol=1e-6)


def test_mixture_of_equal_teachers_is_one_of_them():
    found = mixture_log_probs([logits(4)] * 3, SHARES, temperature=2.0)
    np.testing.assert_allclose(found, full_log_probs(logits(4), temperature=2.0), atol=1e-5)


def test_id_that_all_teachers_rule_out_has_no_part():
    each = teachers()
    for z in each:
        z[:, 3] = -np.inf
    log_p = mixture_log_probs(each, SHARES, temperature=2.0)
    assert np.isneginf(log_p[:, 3]).all()
    student = tf.constant(logits(5))
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = kl_to_log_probs(student, log_p, temperature=2.0)
    gradient = tape.gradient(values, student).numpy()
    q = softmax(logits(5).astype(np.float64) / 2)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(gradient[:, 3], q[:, 3] / 2, rtol=1e-5)


def test_gradient_of_several_terms_is_that_of_averaged_probabilities():
    """Averaging losses: sum_i w_i CE(p_i, q) = CE(sum_i w_i p_i, q)."""
    student = tf.constant(logits(6))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(student)
        each = [
            share
            * soft_cross_entropy_to_log_probs(
                student, full_log_probs(z, temperature=2.0), temperature=2.0
            )
            for share, z in zip(SHARES, teachers(), strict=True)
        ]
        several = tf.add_n(each)
        mixture = mixture_log_probs(teachers(), SHARES, temperature=2.0)
        one = soft_cross_entropy_to_log_probs(student, mixture, temperature=2.0)
    np.testing.assert_allclose(several, one, rtol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(several, student), tape.gradient(one, student), atol=1e-6
    )


def test_shift_exchanges_two_logits_and_leaves_the_rest():
    z = np.array([[1.0, 5.0, 2.0], [3.0, 0.0, 1.0], [1.0, 5.0, 5.0]], np.float32)
    found = shift_to_labels(tf.constant(z), tf.constant([2, 0, 0]))
    np.testing.assert_array_equal(found, [[1, 2, 5], [3, 0, 1], [5, 1, 5]])
