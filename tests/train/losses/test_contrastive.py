"""InfoNCE, against float64 NumPy from the definition."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses import contrastive_values

# B rows of the batch, R of the student, D width
B, R, D = 6, 3, 5
PLACES = np.array([4, 0, 3], np.int32)
PRESENT = np.array([True, True, False, True, True, False])


def unit(states):
    return states / np.sqrt((states**2).sum(-1, keepdims=True))


def drawn(seed, shape, scale=1.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def run(student, keys, *, temperature=0.1, present=PRESENT, places=PLACES):
    student, keys = tf.constant(student), tf.constant(keys)
    with tf.GradientTape() as tape:
        tape.watch([student, keys])
        values = contrastive_values(
            student, keys, tf.constant(present), tf.constant(places), temperature=temperature
        )
    return values.numpy(), tape.gradient(values, [student, keys])


def oracle(student, keys, temperature):
    """Softmax over the rows that are present; the gradient goes through s / |s|."""
    s, k = student.astype(np.float64), keys[PRESENT].astype(np.float64)
    logits = unit(s) @ k.T / temperature
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    own = np.flatnonzero(PRESENT)[None] == PLACES[:, None]
    to_unit = (p - own) @ k / temperature
    length = np.sqrt((s**2).sum(-1, keepdims=True))
    gradient = (to_unit - unit(s) * (unit(s) * to_unit).sum(-1, keepdims=True)) / length
    return -np.log(p[own]), gradient


# At tau = 0.01 logits reach 100: a cosine's rounding in float32 counts 100 times.
@pytest.mark.parametrize(("temperature", "rtol"), [(1.0, 1e-5), (0.07, 1e-5), (0.01, 1e-4)])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_values_and_gradients_match_the_definition(temperature, rtol, scale):
    student, keys = drawn(0, (R, D), scale), unit(drawn(1, (B, D)))
    values, (gradient, _) = run(student, keys, temperature=temperature)
    expected, expected_gradient = oracle(student, keys, temperature)
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(
        gradient * scale, expected_gradient * scale, rtol=rtol, atol=10 * rtol
    )


def test_no_gradient_flows_to_the_teacher_and_absent_rows_change_nothing():
    student, keys = drawn(2, (R, D)), unit(drawn(3, (B, D)))
    values, (gradient, to_keys) = run(student, keys)
    assert to_keys is None
    keys[~PRESENT] = 100.0
    again, (gradient_again, _) = run(student, keys)
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(gradient, gradient_again)


def test_row_alone_in_its_batch_has_nothing_to_learn():
    values, (gradient, _) = run(
        drawn(4, (1, D)), unit(drawn(5, (1, D))), present=np.ones(1, bool), places=np.zeros(1, "i4")
    )
    assert values.tolist() == [0.0] and not gradient.numpy().any()


def test_batch_without_any_row_and_zero_states_stay_finite():
    student = drawn(6, (R, D))
    student[1] = 0.0
    for present in (PRESENT, np.zeros(B, bool)):
        values, (gradient, _) = run(student, unit(drawn(7, (B, D))), present=present)
        assert np.isfinite(values).all() and np.isfinite(gradient).all()
        assert not gradient[1].numpy().any()
