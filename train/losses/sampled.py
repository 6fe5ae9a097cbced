"""Student against a sampled teacher: an exact head and a weighted sample of the tail. Additive.

With weights t over the entries of a position (`limbeck.labels.sparse.sampled_target`), whose mean
over draws is the teacher's p at every id, and the student's full softmax q at temperature T:

    loss      = -sum_i t_i log q_i
    d/dz_v    = (m q_v - t_v) / T,    m = sum_i t_i

Both are linear in t, so their means over draws are the cross-entropy against the full distribution
and its gradient, which is the gradient of the KL too. (A KL itself would need the teacher's entropy
at ids that were not drawn; it differs by a constant that no student changes.) m is 1 in the mean;
keeping it in the gradient makes the loss blind to a constant added to all logits, draw by draw.
"""

# N positions, V vocabulary, E entries

from collections.abc import Callable

import tensorflow as tf

from limbeck.labels.device.sparse import head_indices
from train.losses.own_graph import own_graph

__all__ = ["sampled_cross_entropy_values"]


def sampled_cross_entropy_values(
    student_logits: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Unbiased estimate of the cross-entropy of the student against the full teacher.

    Args:
      student_logits: (N, V) float; float32 inside.
      ids: (N, E) integer below V; no repeats among entries with a weight.
      weights: (N, E) the teacher's weights at this temperature; 0 where there is no entry.
      temperature: divides the student's logits.

    Returns:
      (N,) float32 in nats, without a factor T^2.
    """
    ids, weights = tf.cast(ids, tf.int32), tf.cast(weights, tf.float32)
    logits = tf.cast(student_logits, tf.float32)
    return _cross_entropy(logits, ids, weights, temperature=temperature)


@own_graph
def _cross_entropy(
    student_logits: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    mass = tf.reduce_sum(weights, axis=-1, keepdims=True)

    @tf.custom_gradient
    def cross_entropy(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        below = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
        exponentials = tf.exp(below if temperature == 1.0 else below / temperature)
        total = tf.reduce_sum(exponentials, axis=-1, keepdims=True)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            weight = upstream[:, None] / temperature
            d_logits = exponentials * (mass * weight / total)
            # No entry adds 0 to whatever its id is.
            return tf.tensor_scatter_nd_add(d_logits, head_indices(ids), -weights * weight)

        at_ids = tf.gather(below, ids, batch_dims=1) / temperature
        log_q = at_ids - tf.math.log(total)
        # 0 * -inf: a student may rule out an id that the teacher does not count.
        return tf.reduce_sum(weights * tf.where(weights > 0.0, -log_q, 0.0), axis=-1), gradient

    return cross_entropy(student_logits)
