"""Losses on labels of tasks. Additive over the rows or tokens that carry one."""

# N rows or tokens, C outputs, T tokens of a padded row

import tensorflow as tf

__all__ = ["binary_values", "class_values", "span_values", "squared_values"]

_FAR = -1e30  # finite: a whole row of it still has a softmax, and 0 * it is no NaN


def class_values(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Cross-entropy to a class: logsumexp(z) - z_class.

    As `torch.nn.CrossEntropyLoss`, which BERT's classifiers and taggers train with (Devlin et al.,
    2019, sections 4.1 and 5.3).

    Args:
      logits: (N, C) float.
      classes: (N,) integer below C.

    Returns:
      (N,) float32 in nats.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(classes, tf.int32), logits=tf.cast(logits, tf.float32)
    )


def binary_values(logits: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """mean_c [ softplus(z_c) - y_c z_c ]: binary cross-entropy, as a mean over the labels.

    As `torch.nn.BCEWithLogitsLoss`; max(z, 0) - y z + log1p(exp(-|z|)) inside, which overflows for
    no z.

    Args:
      logits: (N, C) float.
      flags: (N, C) 1 where the label holds, else 0.

    Returns:
      (N,) float32 in nats.
    """
    each = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(flags, tf.float32), logits=tf.cast(logits, tf.float32)
    )
    return tf.reduce_mean(each, axis=-1)


def squared_values(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """(z - y)^2, as `torch.nn.MSELoss`.

    Args:
      outputs: (N, 1) float.
      targets: (N,) float.

    Returns:
      (N,) float32.
    """
    return tf.square(tf.cast(outputs, tf.float32)[:, 0] - tf.cast(targets, tf.float32))


def span_values(logits: tf.Tensor, spans: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Mean of the cross-entropies to an answer's first and last token (Devlin et al., 2019, 4.2).

    Both softmaxes run over the real tokens of the row. transformers' models, and Distil* with them,
    take all positions of the padded row: their loss then depends on the padding.

    Args:
      logits: (N, T, 2) float: of the first token, of the last.
      spans: (N, 2) integer: the true ones, real tokens.
      real: (N, T) 1 at real tokens, 0 at padding.

    Returns:
      (N,) float32 in nats.
    """
    by_end = tf.transpose(tf.cast(logits, tf.float32), (0, 2, 1))  # (N, 2, T)
    by_end = tf.where(real[:, None] > 0, by_end, _FAR)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(spans, tf.int32), logits=by_end
    )
    return tf.reduce_mean(each, axis=-1)
