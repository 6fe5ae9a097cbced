"""Student against the teacher's full distribution, at any temperature. Additive over positions.

With p = softmax(t / T) of the teacher's logits t, rebuilt from a `final` family
(`limbeck.labels.device.final`), and q = softmax(z / T) of the student's z:

    KL(p || q) = sum_v p_v (log p_v - log q_v)        d/dz_v = (q_v - p_v) / T

The gradient is written out: automatic differentiation keeps more arrays of (N, V). No gradient
reaches the teacher.
"""

# N positions, V vocabulary

from collections.abc import Callable

import tensorflow as tf

__all__ = ["full_kl_values", "full_soft_cross_entropy_values"]


def full_kl_values(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """KL(teacher || student) over all ids, without a factor T^2.

    Args:
      student_logits: (N, V) float; float32 inside.
      teacher_logits: (N, V) float, up to a constant per row.
      temperature: divides both; any above 0.

    Returns:
      (N,) float32 in nats; rounding may leave an exact 0 at about +-1e-6.
    """
    return _divergence(student_logits, teacher_logits, temperature, with_entropy=True)


def full_soft_cross_entropy_values(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Cross-entropy -sum_v p_v log q_v: the KL plus the teacher's own entropy.

    Arguments and result as in `full_kl_values`.
    """
    return _divergence(student_logits, teacher_logits, temperature, with_entropy=False)


def _divergence(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    temperature: float,
    *,
    with_entropy: bool,
) -> tf.Tensor:
    if not temperature > 0.0:
        raise ValueError(f"temperature must be above 0, got {temperature!r}")
    teacher = tf.stop_gradient(tf.cast(teacher_logits, tf.float32))

    @tf.custom_gradient
    def divergence(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        log_p = _log_softmax(teacher, temperature)
        log_q = _log_softmax(logits, temperature)
        p = tf.exp(log_p)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return (tf.exp(log_q) - p) * (upstream[:, None] / temperature)

        terms = log_p - log_q if with_entropy else -log_q
        return tf.reduce_sum(tf.where(p > 0.0, p * terms, 0.0), axis=-1), gradient

    return divergence(tf.cast(student_logits, tf.float32))


def _log_softmax(logits: tf.Tensor, temperature: float) -> tf.Tensor:
    # The largest logit is taken off before the division, so that 1e4 keeps all its digits.
    below = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    return tf.nn.log_softmax(below if temperature == 1.0 else below / temperature, axis=-1)
