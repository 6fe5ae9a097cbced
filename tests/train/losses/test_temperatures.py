"""Weights and temperatures against float64 NumPy written from the definitions."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.temperatures import cwsm_weights, entry_temperatures, flsw_weights
from train.recipe.temperatures import CwsmTemperature, FlswTemperature


def logits(seed, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(7, 30)).astype(np.float32)


def flsw_oracle(student, teacher, gamma):
    s, t = student.astype(np.float64), teacher.astype(np.float64)
    s, t = (z / (np.sqrt((z**2).sum(-1, keepdims=True)) + 1e-4) for z in (s, t))
    return (1 - (s * t).sum(-1)) ** gamma


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 3.0, 1e4])  # at the first the epsilon rules
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_flsw_weights_match_the_definition(scale, gamma):
    student, teacher = logits(0, scale), logits(1, scale)
    found = flsw_weights(student, teacher, gamma=gamma)
    np.testing.assert_allclose(found, flsw_oracle(student, teacher, gamma), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_cwsm_weights_match_the_definition(scale):
    student = logits(2, scale)
    z = student.astype(np.float64)
    largest = 1 / np.exp(z - z.max(-1, keepdims=True)).sum(-1)
    np.testing.assert_allclose(cwsm_weights(student), 1 / (largest + 1e-3), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_teacher_as_student_has_a_finite_weight_of_about_zero(gamma):
    weights = flsw_weights(logits(3, 1e4), logits(3, 1e4), gamma=gamma).numpy()
    # 1 - cosine is rounding, up to 1e-6 either way; its root up to 1e-3.
    assert np.isfinite(weights).all() and (weights <= 2e-3).all() and (weights >= 0).all()


def test_ids_that_are_ruled_out_have_no_part_in_the_cosine():
    student, teacher = logits(4), logits(5)
    ruled = teacher.copy()
    ruled[:, 3], teacher[:, 3] = -np.inf, 0.0
    np.testing.assert_array_equal(
        flsw_weights(student, ruled, gamma=1.0), flsw_weights(student, teacher, gamma=1.0)
    )


def test_temperatures_follow_the_weights_between_floor_and_ceiling():
    weights = tf.constant([0.5, 1.0, 1.5, 9.0])
    flsw = FlswTemperature(temperature=4, beta=2, floor=1.5)
    found = entry_temperatures(flsw, weights, mean=tf.constant(1.0))
    np.testing.assert_allclose(found, [5.0, 4.0, 3.0, 1.5])
    cwsm = CwsmTemperature(temperature=4, beta=2, floor=1.5, ceiling=4.5)
    found = entry_temperatures(cwsm, weights, mean=tf.constant(1.0))
    np.testing.assert_allclose(found, [4.5, 4.0, 3.0, 1.5])


def test_weights_have_no_gradient():
    student = tf.constant(logits(6))
    with tf.GradientTape() as tape:
        tape.watch(student)
        total = tf.reduce_sum(flsw_weights(student, logits(7), gamma=1.0) + cwsm_weights(student))
    assert tape.gradient(total, student) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlswTemperature(temperature=0), "temperature is 0"),
        (lambda: FlswTemperature(temperature=4, floor=0), "floor is 0"),
        (lambda: FlswTemperature(temperature=4, floor=5), "floor is 5, above the temperature 4"),
        (lambda: FlswTemperature(temperature=4, gamma=-1), "gamma is -1"),
        (lambda: FlswTemperature(temperature=4, beta=float("nan")), "beta is nan"),
        (lambda: CwsmTemperature(temperature=4, beta=0), "beta is 0"),
        (lambda: CwsmTemperature(temperature=4, ceiling=3), "ceiling is 3, below"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
