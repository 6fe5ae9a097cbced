"""Student's and teacher's logits one by one: squared differences, and label by label. Additive."""

# N entries, C logits of an entry

from collections.abc import Callable, Sequence
from typing import Literal

import tensorflow as tf

from train.losses.own_graph import own_graph
from train.losses.temperatures import Temperature, column

__all__ = ["logit_mse_values", "sigmoid_cross_entropy_values"]


def logit_mse_values(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    *,
    temperature: Temperature = 1.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> tf.Tensor:
    """Squared difference ((z_S - z_T) / T)^2, a mean or a sum over the C logits.

    Sources: mean, TextBrewer's kd_mse_loss (and XtremeDistil's, at T = 1); sum, the `mse` of
    DistilBERT's training, at T = 1. An id that the teacher rules out (-inf) adds nothing.

    Args:
      student_logits: (N, C) float; float32 inside.
      teacher_logits: (N, C) float.
      temperature: one for all, or (N,).
      reduction: over the C logits.

    Returns:
      (N,) float32.
    """
    student = tf.cast(student_logits, tf.float32)
    teacher = tf.stop_gradient(tf.cast(teacher_logits, tf.float32))
    counts = teacher > float("-inf")
    # The inner `where` keeps the gradient of what does not count finite.
    student, teacher = (tf.where(counts, z, 0.0) for z in (student, teacher))
    squares = tf.square((student - teacher) / column(temperature))
    reduce = tf.reduce_mean if reduction == "mean" else tf.reduce_sum
    return reduce(squares, axis=-1)


def sigmoid_cross_entropy_values(
    student_logits: tf.Tensor,
    teacher_logits: Sequence[tf.Tensor],
    *,
    shares: Sequence[float] = (1.0,),
    temperature: float = 1.0,
) -> tf.Tensor:
    """Binary cross-entropy of each of C labels, which do not exclude each other; their mean.

        p = sum_i w_i sigmoid(z_i / T)      q = sigmoid(z / T)
        -(1 / C) sum_c p_c log q_c + (1 - p_c) log(1 - q_c)       d/dz_c = (q_c - p_c) / (C T)

    1 - p is a sum of sigmoids too, never a difference, and log q = -softplus(-z / T).
    Source: the usual loss of several labels (sigmoid and binary cross-entropy) with the teacher's
    probabilities as labels; none of the five systems has it.

    Args:
      student_logits: (N, C) float; float32 inside.
      teacher_logits: of each teacher, (N, C) float.
      shares: w of the teachers, adding up to 1.
      temperature: divides all logits.

    Returns:
      (N,) float32 in nats, without a factor T^2.
    """
    teachers = [tf.stop_gradient(tf.cast(z, tf.float32)) / temperature for z in teacher_logits]
    pairs = list(zip(shares, teachers, strict=True))
    p = tf.add_n([share * tf.sigmoid(z) for share, z in pairs])
    no_p = tf.add_n([share * tf.sigmoid(-z) for share, z in pairs])
    logits = tf.cast(student_logits, tf.float32)
    return _cross_entropy(logits, p, no_p, temperature=temperature)


@own_graph
def _cross_entropy(
    student_logits: tf.Tensor, p: tf.Tensor, no_p: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    @tf.custom_gradient
    def cross_entropy(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        scaled = logits / temperature
        labels = tf.cast(tf.shape(logits)[-1], tf.float32)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # q - p = q (1 - p) - (1 - q) p keeps the digits of tiny ones.
            difference = tf.sigmoid(scaled) * no_p - tf.sigmoid(-scaled) * p
            return difference * (upstream[:, None] / (labels * temperature))

        yes = tf.where(p > 0.0, p * tf.nn.softplus(-scaled), 0.0)
        no = tf.where(no_p > 0.0, no_p * tf.nn.softplus(scaled), 0.0)
        return tf.reduce_mean(yes + no, axis=-1), gradient

    return cross_entropy(student_logits)
