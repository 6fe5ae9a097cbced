"""The mass outside a sparse head at temperatures between those of its grid. An approximation.

With u = 1 / T and logits z relative to the row's largest, H(u) is the log-sum-exp of u z over the
kept ids and C(u) that over all others. H is known at every u. At a temperature of the grid the
stored log-mass t gives C:

    C = H + t - log(1 - e^t)

C is smooth and convex in u, and C(0) is the log of how many ids were left out, exactly. Between,
C is the polynomial through the points of the grid and that one, and

    t(u) = -softplus(H(u) - C(u))

At a temperature of the grid this is t again. On drawn logits as peaked as a language model's, with
10 kept ids and a grid of 1, 2, 4, the largest error of the mass is some 1e-3, where a straight line
between the stored log-masses is off by 0.4: what bends is H, which need not be guessed. A head that
misses large logits (one kept id) leaves them to C, and errors of 0.1.
"""

# N positions, K kept ids, G temperatures in the grid

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from limbeck.labels.device.sparse import log1mexp
from train.losses.temperatures import Temperature

__all__ = ["left_out_errors", "log_tail_between"]

LARGEST_TAIL = -1e-30  # below 0, where log(1 - e^t) is finite


def log_tail_between(
    head_logits: tf.Tensor,
    log_tail: tf.Tensor,
    *,
    grid: Sequence[float],
    temperature: Temperature,
    vocab_size: tf.Tensor | int,
) -> tf.Tensor:
    """(N,) float32 log-mass outside the head at a temperature inside the range of the grid.

    Args:
      head_logits: (N, K) relative to the row's largest; -inf where there is no entry.
      log_tail: (N, G) stored log-masses; -inf where nothing was left out.
      grid: the G temperatures.
      temperature: one for all, or (N,).
      vocab_size: V.
    """
    head, tail = tf.cast(head_logits, tf.float32), tf.cast(log_tail, tf.float32)
    nothing = tf.reduce_any(tf.equal(tail, float("-inf")), axis=-1)
    tail = tf.where(nothing[:, None], -1.0, tf.minimum(tail, LARGEST_TAIL))
    known = tf.stack([_log_sum(head, 1.0 / t) for t in grid], axis=-1)
    complement = known + tail - log1mexp(tail)
    kept = tf.reduce_sum(tf.cast(head > float("-inf"), tf.float32), axis=-1)
    left_out = tf.maximum(tf.cast(vocab_size, tf.float32) - kept, 1.0)
    values = tf.concat([complement, tf.math.log(left_out)[:, None]], axis=-1)
    nodes = [*(1.0 / t for t in grid), 0.0]
    u = tf.ones_like(kept) / temperature
    log_complement = tf.reduce_sum(_lagrange(nodes, u) * values, axis=-1)
    between = -tf.nn.softplus(_log_sum(head, u[:, None]) - log_complement)
    return tf.where(nothing, float("-inf"), between)


def left_out_errors(
    head_logits: np.ndarray, log_tail: np.ndarray, *, grid: Sequence[float], vocab_size: int
) -> dict[float, np.ndarray]:
    """How far off the mass at a point of the grid would be, had it not been stored.

    Of every point but the lowest temperature, below which nothing is known. With the point in
    place the error between it and its neighbours is smaller.

    Args:
      head_logits: (N, K), and
      log_tail: (N, G) as in `log_tail_between`.
      grid: at least two temperatures, rising.
      vocab_size: V.

    Returns:
      Temperature -> (N,) absolute errors of the probability outside the head.
    """
    errors = {}
    for number, temperature in enumerate(grid[1:], start=1):
        others = [g for g in range(len(grid)) if g != number]
        guess = log_tail_between(
            tf.constant(head_logits),
            tf.constant(log_tail[:, others]),
            grid=[grid[g] for g in others],
            temperature=temperature,
            vocab_size=vocab_size,
        )
        errors[temperature] = np.abs(np.exp(guess.numpy()) - np.exp(log_tail[:, number]))
    return errors


def _log_sum(head: tf.Tensor, u: tf.Tensor | float) -> tf.Tensor:
    """(N,) log-sum-exp of u z, u above 0; -inf where there is no entry adds nothing."""
    return tf.reduce_logsumexp(head * u, axis=-1)


def _lagrange(nodes: Sequence[float], u: tf.Tensor) -> tf.Tensor:
    """(N, nodes) what each node's value counts at u (N,)."""
    columns = []
    for i, node in enumerate(nodes):
        factors = [(u - other) / (node - other) for j, other in enumerate(nodes) if j != i]
        columns.append(tf.math.reduce_prod(tf.stack(factors), axis=0))
    return tf.stack(columns, axis=-1)
