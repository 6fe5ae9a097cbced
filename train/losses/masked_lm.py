"""Hard-label masked language modelling. Additive over masked positions."""

# N positions, V vocabulary

import tensorflow as tf

__all__ = ["masked_lm_values"]


def masked_lm_values(student_logits: tf.Tensor, true_ids: tf.Tensor) -> tf.Tensor:
    """Cross-entropy against the true id: logsumexp(z) - z_true.

    Args:
      student_logits: (N, V) float; float32 inside.
      true_ids: (N,) integer below V.

    Returns:
      (N,) float32 in nats.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(true_ids, tf.int32), logits=tf.cast(student_logits, tf.float32)
    )
