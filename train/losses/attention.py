"""Attention of the student against the teacher's: distributions over the keys of a query, scores.

Additive over tokens. All take maps (B, H, T, T), queries before keys, and `seen`, which says where
a query sees a key: what stands elsewhere enters neither value nor gradient, so padded keys, and in
causal models what is behind a token, never count. Values are one number a query; those of padded
queries are finite and mean nothing.

TextBrewer (Yang et al., 2020, arXiv 2002.12620; `att_mse_loss` and so on) takes a softmax over all
keys and leaves padded ones out of the sum behind it, so its teacher's distribution loses the mass
that padding has; here a distribution is over the real keys. Without padding both are the same.
"""

# B rows, T tokens, H heads of both models unless said otherwise

import tensorflow as tf

from limbeck.labels.relations import NEVER

__all__ = [
    "attention_cross_entropy_values",
    "attention_kl_values",
    "attention_mse_values",
    "log_of",
    "log_probabilities",
    "mean_scores",
    "summed_heads",
]


def log_probabilities(scores: tf.Tensor, *, seen: tf.Tensor) -> tf.Tensor:
    """Logarithm of softmax over the keys that a query sees; finite at the others, its exp 0.

    Args:
      scores: (B, H, T, T) scaled scores, before masks.
      seen: bool, of a shape that broadcasts to these.

    Returns:
      (B, H, T, T) float32.
    """
    masked = tf.where(seen, tf.cast(scores, tf.float32), NEVER)
    return tf.nn.log_softmax(masked, axis=-1)


def log_of(probabilities: tf.Tensor) -> tf.Tensor:
    """Logarithm of stored probabilities, and of 0 a number so small that its exp is 0 again."""
    some = probabilities > 0.0
    return tf.where(some, tf.math.log(tf.where(some, probabilities, 1.0)), NEVER)


def attention_kl_values(
    student_scores: tf.Tensor, teacher_logs: tf.Tensor, *, seen: tf.Tensor
) -> tf.Tensor:
    """(1 / H) sum_h sum_j p_hij (log p_hij - log q_hij): KL(teacher || student) of each query.

    Both logarithms are log-softmaxes (of a stored probability: its logarithm), and nothing is
    added to either distribution; 0 log 0 is 0.

    Args:
      student_scores: (B, H, T, T) whose softmax over `seen` is q.
      teacher_logs: (B, H, T, T) log p, of `log_probabilities` or `log_of`.
      seen: bool, broadcasts to these.

    Returns:
      (B, T) float32 in nats.
    """
    p = tf.where(seen, tf.exp(teacher_logs), 0.0)
    ratio = teacher_logs - log_probabilities(student_scores, seen=seen)
    return tf.reduce_mean(tf.reduce_sum(p * ratio, axis=-1), axis=1)


def attention_cross_entropy_values(
    student_scores: tf.Tensor, teacher_logs: tf.Tensor, *, seen: tf.Tensor
) -> tf.Tensor:
    """-(1 / H) sum_h sum_j p_hij log q_hij: cross-entropy of each query.

    TextBrewer's attention_ce; on scores averaged over heads (`mean_scores`), its attention_ce_mean.

    Args:
      student_scores: (B, H, T, T) whose softmax over `seen` is q.
      teacher_logs: (B, H, T, T) log p, of `log_probabilities` or `log_of`.
      seen: bool, broadcasts to these.

    Returns:
      (B, T) float32 in nats.
    """
    p = tf.where(seen, tf.exp(teacher_logs), 0.0)
    log_q = log_probabilities(student_scores, seen=seen)
    return -tf.reduce_mean(tf.reduce_sum(p * log_q, axis=-1), axis=1)


def attention_mse_values(student: tf.Tensor, teacher: tf.Tensor, *, seen: tf.Tensor) -> tf.Tensor:
    """(1 / H) sum_h sum_j (s_hij - t_hij)^2: what a query adds to a mean over pairs.

    Divided by the number of pairs of tokens it is TextBrewer's attention_mse, and of maps summed
    over heads (`summed_heads`) its attention_mse_sum; divided by the pairs of each row first and
    then by the number of rows, equation 7 of TinyBERT (Jiao et al., 2020, arXiv 1909.10351).

    Args:
      student: (B, H, T, T) scores or probabilities.
      teacher: the same of the teacher.
      seen: bool, broadcasts to these.

    Returns:
      (B, T) float32.
    """
    difference = tf.where(seen, tf.cast(student, tf.float32) - tf.cast(teacher, tf.float32), 0.0)
    return tf.reduce_mean(tf.reduce_sum(tf.square(difference), axis=-1), axis=1)


def mean_scores(scores: tf.Tensor) -> tf.Tensor:
    """(B, H, T, T) -> (B, 1, T, T): mean over heads."""
    return tf.reduce_mean(scores, axis=1, keepdims=True)


def summed_heads(maps: tf.Tensor) -> tf.Tensor:
    """(B, H, T, T) -> (B, 1, T, T): sum over heads."""
    return tf.reduce_sum(maps, axis=1, keepdims=True)
