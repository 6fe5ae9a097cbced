"""Values and gradients against float64 NumPy written from the definitions."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.full import full_kl_values, full_soft_cross_entropy_values

BOTH = [full_kl_values, full_soft_cross_entropy_values]


def logits(seed, scale=3.0, shape=(6, 50)):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def run(function, student, teacher, temperature):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = function(student, tf.constant(teacher), temperature=temperature)
    return values.numpy(), tape.gradient(values, student).numpy()


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def oracle(function, student, teacher, temperature):
    log_p = log_softmax(teacher.astype(np.float64) / temperature)
    log_q = log_softmax(student.astype(np.float64) / temperature)
    p = np.exp(log_p)
    entropy = (p * log_p).sum(-1) if function is full_kl_values else 0.0
    return entropy - (p * log_q).sum(-1), (np.exp(log_q) - p) / temperature


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.3])  # no grid: any temperature
@pytest.mark.parametrize("scale", [1e-3, 3.0, 100.0])
def test_values_and_gradients_match_the_definition(function, temperature, scale):
    student, teacher = logits(0, scale), logits(1, scale)
    values, gradients = run(function, student, teacher, temperature)
    expected, expected_gradients = oracle(function, student, teacher, temperature)
    # Float32 sums of 50 terms p * log q, of a few ulps of log q each.
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(gradients, expected_gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function", BOTH)
def test_shifted_logits_give_the_same(function):
    student, teacher = logits(2), logits(3)
    values, gradients = run(function, student, teacher, 2.0)
    shifted = run(function, student + np.float32(64.0), teacher - np.float32(64.0), 2.0)
    # The shift rounds logits to 2^-18.
    np.testing.assert_allclose(shifted[0], values, atol=2e-5)
    np.testing.assert_allclose(shifted[1], gradients, atol=1e-5)


def test_teacher_as_student_gives_zero_and_no_gradient():
    values, gradients = run(full_kl_values, logits(4), logits(4), 1.0)
    np.testing.assert_allclose(values, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradients, 0.0, atol=1e-7)


@pytest.mark.parametrize("function", BOTH)
def test_rows_of_a_subset_equal_rows_of_the_whole(function):
    student, teacher, keep = logits(5), logits(6), np.array([4, 0])
    whole = run(function, student, teacher, 1.0)
    part = run(function, student[keep], teacher[keep], 1.0)
    for of_whole, of_part in zip(whole, part, strict=True):
        np.testing.assert_allclose(of_whole[keep], of_part, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("function", BOTH)
def test_hopeless_ids_leave_everything_finite(function):
    student, teacher = logits(7), logits(8)
    teacher[:, 3], student[:, 5] = -1e30, -1e30  # p = 0 here, q = 0 there
    values, gradients = run(function, student, teacher, 1.0)
    assert np.isfinite(gradients).all() and (values[:] > 1e6).all()
    student[:, 5] = 0.0
    values, gradients = run(function, student, teacher, 1.0)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()


@pytest.mark.parametrize("function", BOTH)
def test_temperature_of_each_entry_gives_what_it_alone_would(function):
    student, teacher = logits(11), logits(12)
    temperatures = np.array([0.5, 1.0, 2.0, 3.0, 7.3, 40.0], np.float32)
    values, gradients = run(function, student, teacher, tf.constant(temperatures))
    for row, temperature in enumerate(temperatures):
        one = slice(row, row + 1)
        alone = run(function, student[one], teacher[one], float(temperature))
        np.testing.assert_allclose(values[one], alone[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradients[one], alone[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("function", BOTH)
def test_ids_that_both_rule_out_have_no_part(function):
    student, teacher = logits(13), logits(14)
    student[:, 4] = teacher[:, 4] = -np.inf
    values, gradients = run(function, student, teacher, 2.0)
    keep = np.arange(50) != 4
    expected, expected_gradients = oracle(function, student[:, keep], teacher[:, keep], 2.0)
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(gradients[:, keep], expected_gradients, rtol=1e-4, atol=1e-6)
    assert (gradients[:, 4] == 0).all()


def test_half_precision_logits_are_computed_in_float32():
    student, teacher = logits(9).astype(np.float16), logits(10).astype(np.float16)
    values, _ = run(full_kl_values, student, teacher, 1.0)
    expected, _ = oracle(full_kl_values, student, teacher, 1.0)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=2e-6)


def test_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        run(full_kl_values, logits(0), logits(1), 0)
