"""Student states against the teacher's stored states, entry by entry. Additive over entries.

All take states of equal width; a projection belongs to the student's side and is applied before.
"""

# Q entries, D hidden width

import tensorflow as tf

__all__ = ["direction", "hidden_cosine_values", "hidden_mse_values", "pkd_values"]


def hidden_mse_values(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Mean over components of the squared difference: (1 / D) sum_d (s_d - t_d)^2.

    The hidden-state loss of TinyBERT (Jiao et al. 2020, eq. 8), and TextBrewer's `hidden_mse` with
    a mask: sum m (s - t)^2 / (D sum m) over tokens.

    Args:
      student: (Q, D) float; float32 inside.
      teacher: (Q, D) stored states of any float dtype.

    Returns:
      (Q,) float32.
    """
    difference = tf.cast(student, tf.float32) - tf.cast(teacher, tf.float32)
    return tf.reduce_mean(tf.square(difference), axis=-1)


def hidden_cosine_values(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """1 - s.t / (|s| |t|), as DistilBERT's cosine loss (Sanh et al. 2019) with label 1.

    A row of zeros has no direction: its value is 1 and its gradient 0.

    Args:
      student: (Q, D) float; float32 inside.
      teacher: (Q, D) stored states of any float dtype.

    Returns:
      (Q,) float32 between 0 and 2.
    """
    cosine = tf.reduce_sum(direction(student) * direction(teacher), axis=-1)
    return 1.0 - cosine


def pkd_values(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """| s / |s| - t / |t| |^2, summed over components: Patient KD (Sun et al. 2019, eq. 7).

    The paper sums over layers: one term each. A row of zeros counts as the zero vector, without a
    gradient: its value is 1, or 0 where both are zero.

    Args:
      student: (Q, D) float; float32 inside.
      teacher: (Q, D) stored states of any float dtype.

    Returns:
      (Q,) float32 between 0 and 4.
    """
    return tf.reduce_sum(tf.square(direction(student) - direction(teacher)), axis=-1)


def direction(states: tf.Tensor) -> tf.Tensor:
    """States divided by their length, float32; 0, without a gradient, for a row of zeros.

    Each row is first divided by its largest component, which changes neither value nor gradient
    and keeps squares in range.

    Args:
      states: (..., D) float.
    """
    states = tf.cast(states, tf.float32)
    scale = tf.stop_gradient(tf.reduce_max(tf.abs(states), axis=-1, keepdims=True))
    is_zero = tf.equal(scale, 0.0)
    states = states / tf.where(is_zero, 1.0, scale)
    # The inner `where` keeps the branch not taken finite: 0 * inf would be NaN in the gradient.
    length = tf.norm(tf.where(is_zero, 1.0, states), axis=-1, keepdims=True)
    return tf.where(is_zero, 0.0, states / length)
