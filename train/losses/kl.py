"""Student against the teacher's kept ids and the mass outside them. Additive over positions.

With the teacher's p over K kept ids and one bucket (all other ids together), and the student's
logits z at temperature T, all relative to the row's largest; h is the log-sum-exp of z/T over the
kept ids and c over the other V - K:

    log q_i      = z_i / T - log(e^h + e^c)
    log q_bucket = -softplus(h - c)

c comes from -inf in the head's columns, never from 1 - sum or log1p(-exp): those fail below e^-14.
The gradient is written out, because automatic differentiation takes a tiny q_bucket - p_bucket as
a difference of numbers near 1, and keeps several (N, V) arrays where one is enough:

    d/dz_i = (m q_i - p_i) / T                              i kept, m = sum_j p_j
    d/dz_v = (m q_bucket - p_bucket) exp(z_v / T - c) / T   v not kept

All of these add up to 0, so m q_bucket - p_bucket is the sum of the p_i - m q_i: where the bucket
has most of the mass (a high T, few ids) that sum has digits which a difference of two numbers near
1 has lost, with an error of one sign in V - K columns.

There is no (N, V) array of the teacher's.

What to do with the mass outside the kept ids (`missing_mass`):

    bucket        p and q over K + 1 outcomes
    truncated     sum over the K kept ids only, p not renormalised (the first seed's loss)
    renormalised  sum over the K kept ids, p divided by its mass there

In the last two p_bucket is 0 and q still comes from the student's full softmax. With K = V there
is no bucket and all three are the plain loss.

Heads of unlike lengths (a threshold's) are as wide as the longest: a teacher's logit of -inf says
that there is no entry. It has no part in p, q, the bucket or the gradient; its id may be any.
"""

# N positions, V vocabulary, K kept ids

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from limbeck.labels.device.sparse import head_indices, target_log_probs, without_head
from train.losses.own_graph import own_graph
from train.losses.temperatures import Temperature, column, divided

__all__ = ["MissingMass", "kl_values", "soft_cross_entropy_values"]

MissingMass = Literal["bucket", "truncated", "renormalised"]


def kl_values(
    student_logits: tf.Tensor,
    ids: tf.Tensor,
    head_logits: tf.Tensor,
    log_tail: tf.Tensor,
    *,
    temperature: Temperature,
    missing_mass: MissingMass = "bucket",
) -> tf.Tensor:
    """KL(teacher || student) = sum_j p_j (log p_j - log q_j), without a factor T^2.

    Args:
      student_logits: (N, V) float; float32 inside.
      ids: (N, K) integer, no repeats among the entries of a row.
      head_logits: (N, K) the teacher's logits at `ids`, up to a constant per row; -inf where there
        is no entry, never in the first column.
      log_tail: (N,) the teacher's log-mass outside `ids` at this temperature; -inf at K = V.
      temperature: divides both logits; one for all, or (N,).
      missing_mass: what to do with the mass outside `ids`.

    Returns:
      (N,) float32 in nats; rounding may leave an exact 0 at about +-1e-6.
    """
    teacher = _teacher(head_logits, log_tail, temperature=temperature, missing_mass=missing_mass)
    offset = tf.where(tf.exp(teacher.log_p) > 0.0, teacher.log_p, 0.0)
    return teacher.divergence(student_logits, ids, offset, temperature=temperature)


def soft_cross_entropy_values(
    student_logits: tf.Tensor,
    ids: tf.Tensor,
    head_logits: tf.Tensor,
    log_tail: tf.Tensor,
    *,
    temperature: Temperature,
    missing_mass: MissingMass = "bucket",
) -> tf.Tensor:
    """Cross-entropy -sum_j p_j log q_j: the KL plus the teacher's own entropy.

    Arguments and result as in `kl_values`.
    """
    teacher = _teacher(head_logits, log_tail, temperature=temperature, missing_mass=missing_mass)
    offset = tf.zeros_like(teacher.log_p)
    return teacher.divergence(student_logits, ids, offset, temperature=temperature)


@dataclass(frozen=True, kw_only=True)
class _Teacher:
    log_p: Any
    """(N, K + 1) log-probabilities, the bucket last; -inf where an outcome does not count."""
    mass: Any
    """(N, 1) their sum, exactly 1 unless truncated."""
    is_entry: Any
    """(N, K) bool; False where a shorter head has no entry."""

    def divergence(
        self, logits: tf.Tensor, ids: tf.Tensor, offset: tf.Tensor, *, temperature: Temperature
    ) -> tf.Tensor:
        """(N,) sum_j p_j (offset_j - log q_j) of the student's logits."""
        ids = tf.cast(ids, tf.int32)
        # Where there is no entry: an id whose column is empty anyway.
        ids = tf.where(self.is_entry, ids, ids[:, :1])
        logits, p = tf.cast(logits, tf.float32), tf.exp(self.log_p)
        return _divergence(
            logits, ids, self.is_entry, p, self.mass, offset, temperature=temperature
        )


def _teacher(
    head_logits: tf.Tensor,
    log_tail: tf.Tensor,
    *,
    temperature: Temperature,
    missing_mass: MissingMass,
) -> _Teacher:
    head_logits, log_tail = tf.cast(head_logits, tf.float32), tf.cast(log_tail, tf.float32)
    no_bucket = tf.fill([tf.shape(head_logits)[0], 1], float("-inf"))
    one = tf.ones([tf.shape(head_logits)[0], 1])
    temperature = column(temperature)
    is_entry = head_logits > float("-inf")
    if missing_mass == "renormalised":
        log_head = tf.nn.log_softmax(head_logits / temperature, axis=-1)
        log_p = tf.concat([log_head, no_bucket], axis=-1)
        return _Teacher(log_p=log_p, mass=one, is_entry=is_entry)
    log_p = target_log_probs(head_logits, log_tail, temperature=temperature)
    if missing_mass == "bucket":
        return _Teacher(log_p=log_p, mass=one, is_entry=is_entry)
    if missing_mass == "truncated":
        log_p = tf.concat([log_p[:, :-1], no_bucket], axis=-1)
        mass = -tf.math.expm1(log_tail)[:, None]
        return _Teacher(log_p=log_p, mass=mass, is_entry=is_entry)
    raise ValueError(
        f"missing_mass must be bucket, truncated or renormalised, got {missing_mass!r}"
    )


@own_graph
def _divergence(
    student_logits: tf.Tensor,
    ids: tf.Tensor,
    is_entry: tf.Tensor,
    p: tf.Tensor,
    mass: tf.Tensor,
    offset: tf.Tensor,
    *,
    temperature: Temperature,
) -> tf.Tensor:
    """(N,) sum_j p_j (offset_j - log q_j), with 0 * anything = 0."""

    @tf.custom_gradient
    def divergence(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        log_q, tail_shape = _student(logits, ids, is_entry, temperature=temperature)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            weight = upstream[:, None] / column(temperature)
            d_log_q = mass * tf.exp(log_q) - p
            d_head, d_bucket = d_log_q[:, :-1], d_log_q[:, -1:]
            rest = -tf.reduce_sum(d_head, axis=-1, keepdims=True)
            d_bucket = tf.where(p[:, -1:] > 0.5, rest, d_bucket)
            d_logits = tail_shape * (d_bucket * weight)
            # The head's columns hold 0, and what is no entry adds 0.
            return tf.tensor_scatter_nd_add(d_logits, head_indices(ids), d_head * weight)

        terms = p * (offset - tf.where(p > 0.0, log_q, 0.0))
        return tf.reduce_sum(terms, axis=-1), gradient

    return divergence(student_logits)


def _student(
    logits: tf.Tensor, ids: tf.Tensor, is_entry: tf.Tensor, *, temperature: Temperature
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log-probabilities (N, K + 1) and the softmax inside the complement (N, V), 0 at the head."""
    head = tf.where(is_entry, tf.gather(logits, ids, batch_dims=1), float("-inf"))
    holed = without_head(logits, ids)
    largest = tf.reduce_max(holed, axis=-1, keepdims=True)
    nothing = tf.equal(largest, float("-inf"))  # every id is kept
    below = holed - tf.where(nothing, 0.0, largest)
    exponentials = tf.exp(divided(below, temperature))
    total = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
    # Relative to the row's largest logit, so that logits of 1e4 keep all their digits.
    zmax = tf.maximum(largest, tf.reduce_max(head, axis=-1, keepdims=True))
    head = (head - zmax) / column(temperature)
    h = tf.reduce_logsumexp(head, axis=-1, keepdims=True)
    c = (largest - zmax) / column(temperature) + tf.math.log(total)
    # log(e^h + e^c) from the larger one: c + softplus(h - c) alone would cancel for a tiny tail.
    full = tf.maximum(h, c) + tf.nn.softplus(-tf.abs(h - c))
    log_bucket = -tf.nn.softplus(h - c)
    shape = tf.math.divide_no_nan(exponentials, total)
    return tf.concat([head - full, log_bucket], axis=-1), shape
