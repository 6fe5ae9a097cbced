"""Which state of the teacher belongs to a row, among those of the batch. A batch loss."""

# R rows compared, B rows of the global batch, D width

import tensorflow as tf

from train.losses.hidden import direction

__all__ = ["contrastive_values"]


def contrastive_values(
    student: tf.Tensor,
    keys: tf.Tensor,
    present: tf.Tensor,
    places: tf.Tensor,
    *,
    temperature: float,
) -> tf.Tensor:
    """-log( exp(cos(s_b, t_b) / tau) / sum_c exp(cos(s_b, t_c) / tau) ), c over the rows present.

    InfoNCE (van den Oord et al. 2018, eq. 4) with f = exp(cosine / tau): the student's state of
    row b must tell its teacher's state t_b from those of the other rows. No gradient flows to the
    teacher's side.

    Args:
      student: (R, D) float.
      keys: (B, D) float32, the teacher's states divided by their lengths.
      present: (B,) bool, which rows have one.
      places: (R,) int32 b, which row of the batch each of the student's is.
      temperature: tau, positive.

    Returns:
      (R,) float32, at least 0 where row b is present; finite elsewhere.
    """
    cosines = tf.matmul(direction(student), tf.stop_gradient(keys), transpose_b=True)
    # A large negative number for -inf: rows that do not count stay finite where none is present.
    logits = tf.where(present[None], cosines / temperature, -1e30)
    own = tf.gather(logits, places, axis=1, batch_dims=1)
    return tf.reduce_logsumexp(logits, axis=1) - own
