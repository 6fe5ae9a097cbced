"""One target from the full logits of several teachers, and from those and the true labels."""

# N entries, V logits

from collections.abc import Sequence

import tensorflow as tf

from train.losses.full import full_log_probs
from train.losses.temperatures import Temperature

__all__ = ["mean_logits", "mixture_log_probs", "shift_to_labels"]


def mean_logits(logits: Sequence[tf.Tensor], shares: Sequence[float]) -> tf.Tensor:
    """(N, V) sum_i w_i z_i, as TextBrewer's MultiTeacherDistiller with equal w.

    Args:
      logits: of each teacher, (N, V) float32.
      shares: w, adding up to 1.
    """
    return tf.add_n([share * z for share, z in zip(shares, logits, strict=True)])


def mixture_log_probs(
    logits: Sequence[tf.Tensor], shares: Sequence[float], *, temperature: Temperature
) -> tf.Tensor:
    """(N, V) log sum_i w_i softmax(z_i / T), by log-sum-exp; arguments as in `mean_logits`."""
    weighted = [
        tf.math.log(share) + full_log_probs(z, temperature=temperature)
        for share, z in zip(shares, logits, strict=True)
    ]
    return tf.reduce_logsumexp(tf.stack(weighted), axis=0)


def shift_to_labels(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """(N, V) with the largest logit and that of the true label exchanged.

    Source: TextBrewer's probability_shift. Of equal largest logits the first counts.

    Args:
      logits: (N, V) of the teacher, or its log-probabilities.
      labels: (N,) true ids; below 0 where there is none, and nothing is exchanged.
    """
    largest = tf.argmax(logits, axis=-1, output_type=tf.int32)
    labels = tf.where(labels < 0, largest, tf.cast(labels, tf.int32))
    top, true = (tf.gather(logits, ids, batch_dims=1)[:, None] for ids in (largest, labels))
    places = tf.range(tf.shape(logits)[-1])
    shifted = tf.where(places == largest[:, None], true, logits)
    return tf.where(places == labels[:, None], top, shifted)
