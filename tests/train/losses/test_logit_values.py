"""Values and gradients against float64 NumPy written from the definitions, and PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses import logit_mse_values, sigmoid_cross_entropy_values

SHAPE = (6, 11)


def logits(seed, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=SHAPE).astype(np.float32)


def run(function, student, *arguments, **settings):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = function(student, *arguments, **settings)
    return values.numpy(), tape.gradient(values, student).numpy()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_squared_differences_match_the_definition(reduction, temperature, scale):
    student, teacher = logits(0, scale), logits(1, scale)
    values, gradients = run(
        logit_mse_values, student, teacher, temperature=temperature, reduction=reduction
    )
    difference = (student.astype(np.float64) - teacher) / temperature
    divisor = SHAPE[1] if reduction == "mean" else 1
    # A float32 difference of two numbers keeps 1e-7 of the larger.
    np.testing.assert_allclose(values, (difference**2).sum(-1) / divisor, rtol=1e-5)
    expected = 2 * difference / temperature / divisor
    np.testing.assert_allclose(gradients, expected, rtol=1e-4, atol=1e-6 * scale)


def test_sum_is_the_squared_error_of_distilbert():
    """Its `mse`: torch's MSELoss(reduction="sum") over logits, divided by the rows."""
    torch = pytest.importorskip("torch")
    student, teacher = logits(2), logits(3)
    z = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(teacher, dtype=torch.float64)
    expected = torch.nn.MSELoss(reduction="sum")(z, t) / len(student)
    expected.backward()
    values, gradients = run(logit_mse_values, student, teacher, reduction="sum")
    np.testing.assert_allclose(values.mean(), expected.item(), rtol=1e-5)
    np.testing.assert_allclose(gradients / len(student), z.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_logits_that_the_teacher_rules_out_add_nothing():
    student, teacher = logits(4), logits(5)
    teacher[:, 2] = -np.inf
    student[0, 2] = -np.inf
    values, gradients = run(logit_mse_values, student, teacher, reduction="sum")
    keep = np.arange(SHAPE[1]) != 2
    expected, _ = run(logit_mse_values, student[:, keep], teacher[:, keep], reduction="sum")
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert (gradients[:, 2] == 0).all() and np.isfinite(gradients).all()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 30.0])
def test_sigmoid_cross_entropy_is_that_of_pytorch(temperature, scale):
    torch = pytest.importorskip("torch")
    student, teacher = logits(6, scale), logits(7, scale)
    z = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    p = torch.sigmoid(torch.tensor(teacher, dtype=torch.float64) / temperature)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        z / temperature, p, reduction="none"
    ).mean(dim=-1)
    expected.sum().backward()
    values, gradients = run(
        sigmoid_cross_entropy_values, student, [teacher], temperature=temperature
    )
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=1e-5)
    # q - p of probabilities near 1/2 is good to their ulp, 6e-8, over 11 labels.
    np.testing.assert_allclose(gradients, z.grad.numpy(), rtol=1e-4, atol=1e-8)


def test_several_teachers_are_a_mean_of_their_probabilities():
    student, teachers, shares = logits(8), [logits(9), logits(10)], (0.25, 0.75)
    values, gradients = run(sigmoid_cross_entropy_values, student, teachers, shares=shares)
    p = sum(w * sigmoid(z.astype(np.float64)) for w, z in zip(shares, teachers, strict=True))
    q = sigmoid(student.astype(np.float64))
    expected = -(p * np.log(q) + (1 - p) * np.log1p(-q)).mean(-1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients, (q - p) / SHAPE[1], rtol=1e-4, atol=1e-8)


def test_certain_teacher_and_student_keep_their_digits():
    """1 - p = e^-40 is lost in a difference; so are q - p and log q."""
    student, teacher = np.array([[40.0, -1e4, 1e4]]), np.array([[41.0, -1e4, 1e4]])
    student, teacher = student.astype(np.float32), teacher.astype(np.float32)
    values, gradients = run(sigmoid_cross_entropy_values, student, [teacher])
    first = np.exp(-40.0) + 40 * np.exp(-41.0)  # p log(1 + e^-40) + (1 - p) log(1 + e^40)
    np.testing.assert_allclose(values, [first / 3], rtol=1e-4)
    expected = [[(np.exp(-41.0) - np.exp(-40.0)) / 3, 0, 0]]
    np.testing.assert_allclose(gradients, expected, rtol=1e-4)


def test_ruled_out_labels_leave_value_and_gradient_finite():
    student, teacher = logits(11), logits(12)
    student[:, 1] = teacher[:, 1] = -np.inf
    values, gradients = run(sigmoid_cross_entropy_values, student, [teacher])
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    assert (gradients[:, 1] == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_are_computed_in_float32(dtype):
    student, teacher = logits(13).astype(dtype), logits(14)
    for function, target in (
        (logit_mse_values, teacher),
        (sigmoid_cross_entropy_values, [teacher]),
    ):
        values, _ = run(function, student, target)
        expected, _ = run(function, student.astype(np.float32), target)
        np.testing.assert_array_equal(values, expected)
