"""Products of two layers, against float64 NumPy from the definition."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses import fsp_values, mmd_values

# m rows, T tokens
LENGTHS = np.array([7, 1, 4])
M, T = len(LENGTHS), 7
REAL = np.arange(T) < LENGTHS[:, None]


def states(seed, width, scale=1.0):
    """(m, T, D), zeros behind each row's last token."""
    drawn = np.random.default_rng(seed).normal(scale=scale, size=(M, T, width))
    return (drawn * REAL[..., None]).astype(np.float32)


def run(function, student, teacher, *more):
    """Values, and the gradients of their sum to both layers of the student."""
    x, y = (tf.constant(s) for s in student)
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        values = function((x, y), tuple(tf.constant(t) for t in teacher), *more)
    return values.numpy(), [g.numpy() for g in tape.gradient(values, [x, y])]


def mmd_oracle(student, teacher):
    """Row by row over real tokens only."""
    values, grads = np.zeros((M, T)), [np.zeros(s.shape) for s in student]
    for b, n in enumerate(LENGTHS):
        x, y, u, v = (a[b, :n].astype(np.float64) for a in (*student, *teacher))
        difference = x @ y.T / x.shape[1] - u @ v.T / u.shape[1]
        values[b, :n] = (difference**2).sum(axis=1)
        grads[0][b, :n] = 2 * difference @ y / x.shape[1]
        grads[1][b, :n] = 2 * difference.T @ x / x.shape[1]
    return values, grads


def fsp_oracle(student, teacher):
    values, grads = np.zeros(M), [np.zeros(s.shape) for s in student]
    for b, n in enumerate(LENGTHS):
        x, y, u, v = (a[b, :n].astype(np.float64) for a in (*student, *teacher))
        difference = (x.T @ y - u.T @ v) / n
        values[b] = (difference**2).mean()
        grads[0][b, :n] = 2 * y @ difference.T / (n * difference.size)
        grads[1][b, :n] = 2 * x @ difference / (n * difference.size)
    return values, grads


# Sums of up to 7 products in float32, squared; states of size 100 stand for extreme ones.
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_mmd_matches_the_definition_at_other_widths(scale):
    student, teacher = [states(i, 6, scale) for i in (0, 1)], [states(i, 10, scale) for i in (2, 3)]
    values, grads = run(mmd_values, student, teacher)
    expected, expected_grads = mmd_oracle(student, teacher)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6 * expected.max())
    for got, want in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    assert not values[~REAL].any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_fsp_matches_the_definition_with_two_widths(scale):
    student = [states(0, 6, scale), states(1, 5, scale)]
    teacher = [states(2, 6, scale), states(3, 5, scale)]
    values, grads = run(fsp_values, student, teacher, tf.constant(LENGTHS, tf.float32))
    expected, expected_grads = fsp_oracle(student, teacher)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_one_layer_with_itself_takes_both_parts_of_the_gradient():
    student, teacher = states(4, 6), states(5, 6)
    x = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = mmd_values((x, x), (tf.constant(teacher), tf.constant(teacher)))
    _, (first, second) = mmd_oracle((student, student), (teacher, teacher))
    np.testing.assert_allclose(tape.gradient(values, x), first + second, atol=1e-5)


def test_teacher_as_student_gives_zero_and_no_gradient():
    pair = [states(6, 6), states(7, 6)]
    for function, more in ((mmd_values, ()), (fsp_values, (tf.constant(LENGTHS, tf.float32),))):
        values, grads = run(function, pair, pair, *more)
        assert not values.any() and not any(g.any() for g in grads)


def test_row_without_a_token_is_zero():
    zero = np.zeros((1, 3, 4), np.float32)
    values, grads = run(fsp_values, (zero, zero), (zero, zero), tf.zeros(1))
    assert values.tolist() == [0.0] and not any(g.any() for g in grads)


def test_turning_the_channels_of_both_layers_leaves_mmd_alone():
    """Products of tokens do not see an orthogonal map: what lets the widths differ."""
    rotation, _ = np.linalg.qr(np.random.default_rng(8).normal(size=(6, 6)))
    student, teacher = [states(i, 6) for i in (9, 10)], [states(i, 6) for i in (11, 12)]
    turned = [(s @ rotation).astype(np.float32) for s in student]
    values, _ = run(mmd_values, student, teacher)
    np.testing.assert_allclose(run(mmd_values, turned, teacher)[0], values, rtol=1e-4, atol=1e-5)
