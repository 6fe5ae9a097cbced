import numpy as np
import pytest
import tensorflow as tf

from train.losses import hidden_cosine_values, hidden_mse_values, pkd_values


def states(seed, scale=1.0, shape=(5, 16)):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


def run(function, student, teacher):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = function(student, tf.constant(teacher))
    return values.numpy(), tape.gradient(values, student).numpy()


def mse_oracle(student, teacher):
    difference = student.astype(np.float64) - teacher.astype(np.float64)
    return (difference**2).mean(axis=-1), 2 * difference / student.shape[-1]


def cosine_oracle(student, teacher):
    s, t = student.astype(np.float64), teacher.astype(np.float64)
    s_length = np.sqrt((s**2).sum(-1, keepdims=True))
    t_length = np.sqrt((t**2).sum(-1, keepdims=True))
    cosine = (s * t).sum(-1, keepdims=True) / (s_length * t_length)
    gradient = -(t / (s_length * t_length) - cosine * s / s_length**2)
    return 1 - cosine[:, 0], gradient


def pkd_oracle(student, teacher):
    """The derivative of v = s / |s| is (I - v v^T) / |s|."""
    s, t = student.astype(np.float64), teacher.astype(np.float64)
    length = np.sqrt((s**2).sum(-1, keepdims=True))
    v, difference = s / length, s / length - t / np.sqrt((t**2).sum(-1, keepdims=True))
    gradient = 2 * (difference - v * (v * difference).sum(-1, keepdims=True)) / length
    return (difference**2).sum(-1), gradient


ALL = [
    (hidden_mse_values, mse_oracle),
    (hidden_cosine_values, cosine_oracle),
    (pkd_values, pkd_oracle),
]
FUNCTIONS = [function for function, _ in ALL]
DIRECTIONAL = FUNCTIONS[1:]


@pytest.mark.parametrize("teacher_dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("function", "oracle"), ALL)
def test_values_and_gradients_match_the_definition(function, oracle, teacher_dtype):
    student, teacher = states(0), states(1).astype(teacher_dtype)
    values, gradients = run(function, student, teacher)
    expected, expected_gradients = oracle(student, teacher)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradients, expected_gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_teacher_as_student_gives_zero_and_no_gradient(function):
    values, gradients = run(function, states(2), states(2))
    np.testing.assert_allclose(values, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradients, 0.0, atol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rows_of_a_subset_equal_rows_of_the_whole(function):
    student, teacher, keep = states(3), states(4), np.array([4, 0])
    whole = run(function, student, teacher)
    part = run(function, student[keep], teacher[keep])
    for of_whole, of_part in zip(whole, part, strict=True):
        np.testing.assert_allclose(of_whole[keep], of_part, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e4, 1e30])  # squares of the ends leave float32
@pytest.mark.parametrize("function", DIRECTIONAL)
def test_cosine_and_pkd_ignore_the_length_of_states(function, scale):
    student, teacher = states(5), states(6)
    values, gradients = run(function, student, teacher)
    scaled, scaled_gradients = run(function, student * np.float32(scale), teacher)
    np.testing.assert_allclose(scaled, values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        scaled_gradients.astype(np.float64) * scale, gradients, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("zero_student", [True, False])
@pytest.mark.parametrize("function", DIRECTIONAL)
def test_zero_state_has_value_one_without_a_gradient(function, zero_student):
    student, teacher = states(7), states(8)
    (student if zero_student else teacher)[2] = 0.0
    values, gradients = run(function, student, teacher)
    np.testing.assert_allclose(values[2], 1.0, atol=1e-6)
    np.testing.assert_allclose(gradients[2], 0.0, atol=1e-6)
    assert np.isfinite(gradients).all() and (gradients[[0, 1, 3, 4]] != 0.0).any()


def test_pkd_is_twice_one_minus_cosine():
    student, teacher = states(9), states(10)
    values, gradients = run(pkd_values, student, teacher)
    cosine, cosine_gradients = run(hidden_cosine_values, student, teacher)
    np.testing.assert_allclose(values, 2 * cosine, rtol=1e-5)
    np.testing.assert_allclose(gradients, 2 * cosine_gradients, atol=1e-6)
