"""Student states against the teacher's stored states. Additive over tokens.

Both take states of equal width; a projection belongs to the student's side and is applied before.
"""

# N tokens, D hidden width

import tensorflow as tf

__all__ = ["hidden_cosine_values", "hidden_mse_values"]


def hidden_mse_values(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Mean over components of the squared difference: (1 / D) sum_d (s_d - t_d)^2.

    Args:
      student: (N, D) float; float32 inside.
      teacher: (N, D) stored states of any float dtype.

    Returns:
      (N,) float32.
    """
    difference = tf.cast(student, tf.float32) - tf.cast(teacher, tf.float32)
    return tf.reduce_mean(tf.square(difference), axis=-1)


def hidden_cosine_values(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """1 - s.t / (|s| |t|), as DistilBERT's cosine loss (Sanh et al. 2019) with label 1.

    A row of zeros has no direction: its value is 1 and its gradient 0. Each row is first divided
    by its largest component, which changes neither value nor gradient and keeps squares in range.

    Args:
      student: (N, D) float; float32 inside.
      teacher: (N, D) stored states of any float dtype.

    Returns:
      (N,) float32 between 0 and 2.
    """
    cosine = tf.reduce_sum(_direction(student) * _direction(teacher), axis=-1)
    return 1.0 - cosine


def _direction(states: tf.Tensor) -> tf.Tensor:
    """(N, D) of length 1, or 0 for a row of zeros."""
    states = tf.cast(states, tf.float32)
    scale = tf.stop_gradient(tf.reduce_max(tf.abs(states), axis=-1, keepdims=True))
    is_zero = tf.equal(scale, 0.0)
    states = states / tf.where(is_zero, 1.0, scale)
    # The inner `where` keeps the branch not taken finite: 0 * inf would be NaN in the gradient.
    length = tf.norm(tf.where(is_zero, 1.0, states), axis=-1, keepdims=True)
    return tf.where(is_zero, 0.0, states / length)
