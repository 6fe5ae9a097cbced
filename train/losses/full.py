"""Student against the teacher's full distribution, at any temperature. Additive over positions.

With p = softmax(t / T) of the teacher's logits t, rebuilt from a `final` family
(`limbeck.labels.device.final`) or those of a task head, and q = softmax(z / T) of the student's z:

    KL(p || q) = sum_v p_v (log p_v - log q_v)        d/dz_v = (q_v - p_v) / T

(Hinton et al. 2015, arXiv:1503.02531, equation 2 to 4; the factor T^2 is the term's.)

The gradient is written out: automatic differentiation keeps more arrays of (N, V). No gradient
reaches the teacher. T may differ from entry to entry.
"""

# N positions, V vocabulary

from collections.abc import Callable

import tensorflow as tf

from train.losses.own_graph import own_graph
from train.losses.temperatures import Temperature, column, divided

__all__ = [
    "full_kl_values",
    "full_log_probs",
    "full_soft_cross_entropy_values",
    "kl_to_log_probs",
    "soft_cross_entropy_to_log_probs",
]


def full_kl_values(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: Temperature
) -> tf.Tensor:
    """KL(teacher || student) over all ids, without a factor T^2.

    Args:
      student_logits: (N, V) float; float32 inside.
      teacher_logits: (N, V) float, up to a constant per row; -inf where an id is ruled out.
      temperature: divides both; any above 0, one for all or (N,).

    Returns:
      (N,) float32 in nats; rounding may leave an exact 0 at about +-1e-6.
    """
    log_p = full_log_probs(teacher_logits, temperature=temperature)
    return kl_to_log_probs(student_logits, log_p, temperature=temperature)


def full_soft_cross_entropy_values(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: Temperature
) -> tf.Tensor:
    """Cross-entropy -sum_v p_v log q_v: the KL plus the teacher's own entropy.

    Arguments and result as in `full_kl_values`.
    """
    log_p = full_log_probs(teacher_logits, temperature=temperature)
    return soft_cross_entropy_to_log_probs(student_logits, log_p, temperature=temperature)


def kl_to_log_probs(
    student_logits: tf.Tensor, log_p: tf.Tensor, *, temperature: Temperature
) -> tf.Tensor:
    """(N,) KL to a target (N, V) of log-probabilities at this temperature."""
    logits = tf.cast(student_logits, tf.float32)
    return _divergence(logits, log_p, temperature, with_entropy=True)


def soft_cross_entropy_to_log_probs(
    student_logits: tf.Tensor, log_p: tf.Tensor, *, temperature: Temperature
) -> tf.Tensor:
    """(N,) cross-entropy to a target (N, V) of log-probabilities at this temperature."""
    logits = tf.cast(student_logits, tf.float32)
    return _divergence(logits, log_p, temperature, with_entropy=False)


def full_log_probs(logits: tf.Tensor, *, temperature: Temperature) -> tf.Tensor:
    """(N, V) float32 log softmax(logits / T)."""
    if isinstance(temperature, int | float) and not temperature > 0.0:
        raise ValueError(f"temperature must be above 0, got {temperature!r}")
    logits = tf.cast(logits, tf.float32)
    # The largest logit is taken off before the division, so that 1e4 keeps all its digits.
    below = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    return tf.nn.log_softmax(divided(below, temperature), axis=-1)


@own_graph
def _divergence(
    student_logits: tf.Tensor, log_p: tf.Tensor, temperature: Temperature, *, with_entropy: bool
) -> tf.Tensor:
    log_p = tf.stop_gradient(log_p)

    @tf.custom_gradient
    def divergence(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        log_q = full_log_probs(logits, temperature=temperature)
        p = tf.exp(log_p)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return (tf.exp(log_q) - p) * (upstream[:, None] / column(temperature))

        terms = log_p - log_q if with_entropy else -log_q
        return tf.reduce_sum(tf.where(p > 0.0, p * terms, 0.0), axis=-1), gradient

    return divergence(student_logits)
