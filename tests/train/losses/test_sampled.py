"""Values and gradients against float64 NumPy written from the definition, and unbiasedness."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels import SparseSignal, sparse
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted
from train.losses import sampled_cross_entropy_values

V = 60
SIGNAL = SparseSignal(threshold=0.08, sample=True, temperatures=(1, 2, 4))


def random_logits(seed, num_rows=5, vocab_size=V, scale=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(num_rows, vocab_size)).astype(np.float32)


def targets(logits, temperature, seed=0):
    words = draws(
        seed, np.zeros((1, 16), np.uint8), np.zeros(len(logits), int), np.arange(len(logits))
    )
    fitted = Fitted(signal=SIGNAL)
    arrays = sparse.encode(
        fitted, {"logits": logits}, true_ids=np.zeros(len(logits), int), draws=words
    )
    return sparse.sampled_target(fitted, arrays, temperature=temperature)


def run(student, ids, weights, temperature):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = sampled_cross_entropy_values(student, ids, weights, temperature=temperature)
    return values.numpy(), tape.gradient(values, student).numpy()


def oracle(student, ids, weights, temperature):
    """Float64 loss and gradient, entry by entry."""
    z = student.astype(np.float64) / temperature
    log_q = z - z.max(axis=-1, keepdims=True)
    log_q -= np.log(np.exp(log_q).sum(axis=-1, keepdims=True))
    values, gradients = np.zeros(len(z)), np.zeros_like(z)
    for row in range(len(z)):
        for i, t in zip(ids[row], weights[row].astype(np.float64), strict=True):
            if t:
                values[row] -= t * log_q[row, i]
                gradients[row] += t * (np.exp(log_q[row]) - np.eye(V)[i]) / temperature
    return values, gradients


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("scale", [0.0, 2.0, 1e4])
def test_random_logits_match_the_definition(scale, temperature):
    ids, weights = targets(random_logits(1), temperature)
    student = random_logits(2, scale=scale)
    values, gradients = run(student, ids, weights, temperature)
    expected, expected_gradients = oracle(student, ids, weights, temperature)
    # z / T up to 4e4 is itself rounded to 2e-3.
    np.testing.assert_allclose(values, expected, rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(gradients, expected_gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_mean_over_keys_is_the_full_loss_within_four_sigma(temperature):
    keys, teacher, student = 3000, random_logits(3, 1), random_logits(4, 1)
    ids, weights = targets(np.repeat(teacher, keys, axis=0), temperature, seed=2)
    values, gradients = run(np.repeat(student, keys, axis=0), ids, weights, temperature)
    z = [x[0].astype(np.float64) / temperature for x in (teacher, student)]
    p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in z)
    for found, exact in (
        (values[:, None], -(p * np.log(q)).sum()),
        (gradients, (q - p) / temperature),
    ):
        error = found.mean(axis=0, dtype=np.float64) - exact
        sigma = found.std(axis=0, dtype=np.float64) / np.sqrt(keys)
        # The head is stored in fp16: up to 2^-10 of each probability.
        assert (np.abs(error) <= 4 * sigma + 1e-3 * np.maximum(np.abs(exact), p.max())).all()


def test_entries_without_weight_leave_no_trace():
    ids = np.array([[3, 7, 0, 0], [3, 3, 3, 3]], np.int32)
    weights = np.array([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]], np.float32)
    student = random_logits(5, 2)
    values, gradients = run(student, ids, weights, 1.0)
    alone = run(student[:1], ids[:1, :2], weights[:1, :2], 1.0)
    np.testing.assert_allclose(values[:1], alone[0], rtol=1e-6)
    np.testing.assert_allclose(gradients[:1], alone[1], rtol=1e-6, atol=1e-9)


def test_padding_as_it_is_stored_is_exactly_zero():
    student = random_logits(6, 2)
    values, gradients = run(student, np.zeros((2, 4), np.int32), np.zeros((2, 4), np.float32), 2.0)
    assert (values == 0.0).all() and (gradients == 0.0).all()


def test_id_that_the_student_rules_out_has_a_finite_gradient():
    student = np.zeros((1, V), np.float32)
    student[0, 5] = -1e4
    values, gradients = run(
        student, np.array([[5, 6]], np.int32), np.array([[0.5, 0.5]], np.float32), 1.0
    )
    np.testing.assert_allclose(values, 0.5 * 1e4 + np.log(V - 1), rtol=1e-6)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize("shift", [-4096.0, 512.0])  # exact on a grid of 1/64
def test_shifting_the_students_logits_changes_nothing(shift):
    ids, weights = targets(random_logits(7), 1.0)
    student = (np.round(random_logits(8) * 64) / 64).astype(np.float32)
    values, gradients = run(student, ids, weights, 1.0)
    moved, moved_gradients = run((student + np.float32(shift)), ids, weights, 1.0)
    np.testing.assert_array_equal(moved, values)
    np.testing.assert_array_equal(moved_gradients, gradients)
    np.testing.assert_allclose(gradients.sum(axis=-1), 0.0, atol=1e-6)


def test_half_precision_student_is_computed_in_float32():
    ids, weights = targets(random_logits(9), 1.0)
    student = random_logits(10).astype(np.float16)
    values, gradients = run(student, ids, weights, 1.0)
    expected, _ = run(student.astype(np.float32), ids, weights, 1.0)
    np.testing.assert_array_equal(values, expected)
    assert gradients.dtype == np.float16
