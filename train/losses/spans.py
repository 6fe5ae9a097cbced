"""Where a span begins and ends: the student's distribution over tokens against the teacher's."""

# m rows, T tokens, C marks of a span: its first and its last token

import tensorflow as tf

from train.losses.full import full_kl_values, full_soft_cross_entropy_values

__all__ = ["span_distribution_values"]


def span_distribution_values(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    real: tf.Tensor,
    *,
    temperature: float,
    with_entropy: bool,
) -> tf.Tensor:
    """Mean over first and last token of KL(p || q), or of the cross-entropy, over a row's tokens.

    p and q are softmaxes of logits / T over the real tokens of the row. Source: the question
    answering script of DistilBERT (Sanh et al. 2019), half of KL_start + KL_end, whose softmax
    runs over padding too.

    Args:
      student_logits: (m, T, C) float.
      teacher_logits: (m, T, C) float; finite everywhere.
      real: (m, T) bool; a row without any has a value that is finite and means nothing.
      temperature: divides both logits.
      with_entropy: KL rather than cross-entropy.

    Returns:
      (m,) float32 in nats, without a factor T^2.
    """
    used = real | ~tf.reduce_any(real, axis=1, keepdims=True)
    by_token = tf.repeat(used, tf.shape(student_logits)[2], axis=0)
    student, teacher = (
        tf.where(by_token, tf.cast(_over_tokens(z), tf.float32), float("-inf"))
        for z in (student_logits, teacher_logits)
    )
    against = full_kl_values if with_entropy else full_soft_cross_entropy_values
    values = against(student, teacher, temperature=temperature)
    return tf.reduce_mean(tf.reshape(values, (-1, tf.shape(student_logits)[2])), axis=-1)


def _over_tokens(logits: tf.Tensor) -> tf.Tensor:
    """(m, T, C) -> (m C, T)."""
    rows, tokens, marks = tf.unstack(tf.shape(logits))
    return tf.reshape(tf.transpose(logits, (0, 2, 1)), (rows * marks, tokens))
