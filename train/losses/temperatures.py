"""Temperatures of entries: one number for all, or one each that follows the student.

    FLSW   w = (1 - cos(z_S, z_T))^gamma,   vectors divided by their length + 1e-4
    CWSM   w = 1 / (max_v softmax(z_S)_v + 1e-3)

    tau_i = clip(tau + (mean(w) - w_i) beta)

Source: Li et al. 2019 (arXiv:1911.07471) as TextBrewer 0.2.1 implements it
(`textbrewer.schedulers`), which does not clip. Weights are numbers, not functions of the student:
no gradient flows through them. The mean is over the global batch, so these are batch losses.
"""

# N entries, V logits

from typing import TypeAlias

import tensorflow as tf

from train.recipe.temperatures import CwsmTemperature, TemperatureSchedule

__all__ = [
    "Temperature",
    "column",
    "cwsm_weights",
    "divided",
    "entry_temperatures",
    "flsw_weights",
]

Temperature: TypeAlias = "float | tf.Tensor"
"""A number, or (N,) float32 with one for each entry."""

LENGTH_EPSILON = 1e-4
PROBABILITY_EPSILON = 1e-3


def column(temperature: Temperature) -> Temperature:
    """(N,) -> (N, 1); a number stays what it is."""
    return temperature if isinstance(temperature, int | float) else temperature[:, None]


def divided(values: tf.Tensor, temperature: Temperature) -> tf.Tensor:
    """(N, any) / tau."""
    if isinstance(temperature, int | float) and temperature == 1.0:
        return values
    return values / column(temperature)


def flsw_weights(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, gamma: float
) -> tf.Tensor:
    """(N,) float32 weights of two (N, V) logits; large where they point elsewhere."""
    student, teacher = (
        _normalised(tf.stop_gradient(tf.cast(z, tf.float32)))
        for z in (student_logits, teacher_logits)
    )
    cosine = tf.reduce_sum(student * teacher, axis=-1)
    # Rounding may leave 1 - cosine a hair below 0, whose power is NaN.
    return tf.pow(tf.maximum(1.0 - cosine, 0.0), gamma)


def cwsm_weights(student_logits: tf.Tensor) -> tf.Tensor:
    """(N,) float32 weights of (N, V) logits; large where no id is likely."""
    logits = tf.stop_gradient(tf.cast(student_logits, tf.float32))
    below = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    largest = 1.0 / tf.reduce_sum(tf.exp(below), axis=-1)
    return 1.0 / (largest + PROBABILITY_EPSILON)


def entry_temperatures(
    schedule: TemperatureSchedule, weights: tf.Tensor, *, mean: tf.Tensor
) -> tf.Tensor:
    """(N,) float32 temperatures.

    Args:
      schedule: settings.
      weights: (N,).
      mean: scalar, of the weights over the global batch.
    """
    rows = tf.maximum(schedule.temperature + (mean - weights) * schedule.beta, schedule.floor)
    if isinstance(schedule, CwsmTemperature) and schedule.ceiling is not None:
        rows = tf.minimum(rows, schedule.ceiling)
    return rows


def _normalised(logits: tf.Tensor) -> tf.Tensor:
    logits = tf.where(logits > float("-inf"), logits, 0.0)  # an id that is ruled out points nowhere
    return logits / (tf.norm(logits, axis=-1, keepdims=True) + LENGTH_EPSILON)
