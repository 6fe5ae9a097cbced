"""TensorFlow twin of `limbeck.labels.sparse`: only what is stored leaves the accelerator.

Against the NumPy codec, on equal float32 logits: everything is bit-equal but `log_tail`, which
agrees to 2e-6 absolute + 1e-6 relative (order of summation, powers instead of exponentials).
"""

# N positions, V vocabulary, K kept ids, E entries at most, G temperatures in the grid

import math
from collections.abc import Mapping, Sequence

import tensorflow as tf

from limbeck.labels.device.sparse_pick import pick
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_encoding import CODE_LEVELS
from limbeck.labels.sparse_math import LOWEST_FP16

__all__ = ["encode", "head_indices", "log1mexp", "target_log_probs", "without_head"]

NEGATIVE_INFINITY = float("-inf")
BLOCK = 64  # columns; 32 to 128 measure the same
_LN2 = math.log(2.0)


def encode(
    fitted: Fitted,
    raw: Mapping[str, tf.Tensor],
    *,
    true_ids: tf.Tensor | None,
    draws: tf.Tensor | None,
) -> dict[str, tf.Tensor]:
    """Encodes full logits on the device; see `limbeck.labels.sparse.encode`.

    Give real positions only: the cost is per row.

    Args:
      fitted: of the family.
      raw: `logits` (N, V), before softmax, without vocabulary padding; V known statically.
      true_ids: (N,) integer, for the grid form at masked positions; else None.
      draws: (N, 2) int32, for a sample; else None.

    Returns:
      The arrays of `limbeck.labels.sparse`, ids and counts as int32.
    """
    signal = fitted.signal
    assert isinstance(signal, SparseSignal)
    vocab_size = raw["logits"].shape[-1]
    if vocab_size is None or not 1 <= signal.k <= vocab_size:
        raise ValueError(
            f"k is {signal.k} but must be 1 to the static vocabulary size {vocab_size}"
        )
    logits = tf.cast(raw["logits"], tf.float32)
    # One pass finds every NaN and infinity: the sum of finite logits is finite.
    finite = tf.math.is_finite(tf.reduce_sum(logits, axis=-1))
    if signal.is_ragged:
        arrays, zmax = _ragged(signal, logits, draws if signal.sample else None)
        arrays["num_head"] = tf.where(finite, arrays["num_head"], 0)
    else:
        arrays, zmax = _fixed(signal, logits)
    if "log_tail" in arrays:
        arrays["log_tail"] = tf.where(finite[:, None], arrays["log_tail"], float("nan"))
    if signal.form == "grid":
        arrays["zmax"] = tf.where(finite, zmax[:, 0], float("nan"))
    if signal.needs_true_ids:
        if true_ids is None:
            raise ValueError("the grid form at masked positions needs true_ids")
        arrays["true_logit"] = tf.gather(logits, true_ids, batch_dims=1)
    return arrays


def target_log_probs(
    head_logits: tf.Tensor, log_tail: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """Twin of `limbeck.labels.sparse.target`: the teacher over its kept ids and the bucket.

    Args:
      head_logits: (N, K) relative logits, -inf where there is no entry.
      log_tail: (N,) log-mass outside the head at this temperature.
      temperature: the T of `log_tail`.

    Returns:
      (N, K + 1) float32 natural log-probabilities, the bucket last.
    """
    scaled = tf.cast(head_logits, tf.float32) / temperature
    log_head = tf.nn.log_softmax(scaled, axis=-1) + log1mexp(log_tail)[:, None]
    return tf.concat([log_head, log_tail[:, None]], axis=-1)


def log1mexp(x: tf.Tensor) -> tf.Tensor:
    """log(1 - e^x) for x < 0, accurate at both ends; float32 in and out."""
    small = tf.math.log1p(-tf.exp(tf.minimum(x, -_LN2)))
    large = tf.math.log(-tf.math.expm1(tf.maximum(x, -_LN2)))
    return tf.where(x < -_LN2, small, large)


def head_indices(ids: tf.Tensor) -> tf.Tensor:
    """(N, K) ids -> (N, K, 2) indices of (row, id), as the scatter operations want them."""
    rows = tf.range(tf.shape(ids)[0], dtype=ids.dtype)[:, None]
    return tf.stack([tf.broadcast_to(rows, tf.shape(ids)), ids], axis=-1)


def without_head(logits: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """(N, V) logits with -inf in the columns of each row's (N, K) ids."""
    holes = tf.fill(tf.shape(ids), tf.constant(NEGATIVE_INFINITY, logits.dtype))
    return tf.tensor_scatter_nd_update(logits, head_indices(ids), holes)


def _fixed(signal: SparseSignal, logits: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Arrays of top k, and (N, 1) the largest logit."""
    k, vocab_size = signal.k, logits.shape[-1]
    values, ids = _top_k(logits, k=min(k + 1, vocab_size))  # the next one leads the complement
    zmax, kept = values[:, :1], ids[:, :k]
    head = values[:, :k] - zmax
    if k == vocab_size:
        log_tail = tf.fill([tf.shape(logits)[0], len(signal.temperatures)], NEGATIVE_INFINITY)
    else:
        below = without_head(logits, kept) - values[:, k:]
        gap = (values[:, k:] - zmax)[:, 0]
        log_tail = _log_tail(below, gap, head=head, temperatures=signal.temperatures)
    return {"ids": kept, "logits": _half(head), "log_tail": log_tail}, zmax


def _ragged(
    signal: SparseSignal, logits: tf.Tensor, draws: tf.Tensor | None
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Arrays of a threshold, and (N, 1) the largest logit."""
    values, top = _top_k(logits, k=signal.k)
    zmax = values[:, :1]
    picked = pick(logits, zmax, top, signal=signal, draws=draws)
    column = tf.range(signal.max_entries)
    is_head = column < picked.num_head[:, None]
    used = column < (picked.num_head + picked.num_drawn)[:, None]
    arrays = {"ids": picked.ids, "num_head": picked.num_head}
    if signal.sample:
        arrays["num_sampled"] = picked.num_drawn
    if signal.sample and signal.form == "lean":
        codes = tf.round(tf.sqrt(picked.probs) * CODE_LEVELS)
        arrays["codes"] = tf.cast(tf.where(is_head, codes, 0.0), tf.int32)
        return arrays, zmax
    relative = tf.gather(logits, picked.ids, batch_dims=1) - zmax
    arrays["logits"] = tf.where(used, _half(relative), tf.constant(0.0, tf.float16))
    arrays["log_tail"] = _ragged_tail(signal, logits, zmax, picked.ids, relative, is_head)
    return arrays, zmax


def _ragged_tail(
    signal: SparseSignal,
    logits: tf.Tensor,
    zmax: tf.Tensor,
    ids: tf.Tensor,
    relative: tf.Tensor,
    is_head: tf.Tensor,
) -> tf.Tensor:
    holes = tf.where(is_head, ids, ids[:, :1])  # the first entry is always of the head
    complement = without_head(logits, holes)
    largest = tf.reduce_max(complement, axis=-1, keepdims=True)
    nothing = tf.equal(largest, NEGATIVE_INFINITY)
    below = complement - tf.where(nothing, zmax, largest)
    gap = tf.where(nothing, 0.0, largest - zmax)[:, 0]
    head = tf.where(is_head, relative, NEGATIVE_INFINITY)
    return _log_tail(below, gap, head=head, temperatures=signal.temperatures)


def _half(relative: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.maximum(relative, LOWEST_FP16), tf.float16)


def _top_k(logits: tf.Tensor, *, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The k largest of each row and their ids, by value descending and id ascending on ties.

    Only the k blocks of the largest maxima can hold them (lower blocks first on ties: a block left
    out has k blocks before it, each with an element that comes before all of its own). Measured on
    a CPU at V = 30,522 and k = 16: 28 us a row, where `tf.math.top_k` on whole rows takes 187.
    """
    vocab_size = logits.shape[-1]
    num_blocks = -(-vocab_size // BLOCK)
    if num_blocks <= k:
        return tf.math.top_k(logits, k=k, sorted=True)  # the lower index first on ties
    padding = [[0, 0], [0, num_blocks * BLOCK - vocab_size]]
    padded = tf.pad(logits, padding, constant_values=NEGATIVE_INFINITY)
    blocks = tf.reshape(padded, [-1, num_blocks, BLOCK])
    chosen = tf.math.top_k(tf.reduce_max(blocks, axis=-1), k=k, sorted=True).indices
    chosen = tf.sort(chosen, axis=-1)  # ascending, so that a candidate's index orders like its id
    candidates = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [-1, k * BLOCK])
    values, indices = tf.math.top_k(candidates, k=k, sorted=True)
    ids = tf.gather(chosen, indices // BLOCK, batch_dims=1) * BLOCK + indices % BLOCK
    # A refused row (NaN, -inf) may point into the padding, where nothing can be gathered.
    return values, tf.minimum(ids, vocab_size - 1)


def _log_tail(
    below: tf.Tensor, gap: tf.Tensor, *, head: tf.Tensor, temperatures: Sequence[float]
) -> tf.Tensor:
    """(N, G) log-mass of the complement.

    Args:
      below: (N, V) logits of the complement less its largest; -inf in the head's columns.
      gap: (N,) that largest, less the largest of all.
      head: (N, any) logits of the head less the largest of all; -inf where there is none.
      temperatures: rising.
    """
    columns: list[tf.Tensor] = []
    hotter = None
    for temperature in reversed(temperatures):
        exponentials = _exponentials(below, temperature, hotter)
        hotter = (temperature, exponentials)
        # Log-sum-exps of z/T, both relative to zmax/T.
        log_complement = tf.math.log(tf.reduce_sum(exponentials, axis=-1)) + gap / temperature
        log_head = tf.reduce_logsumexp(head / temperature, axis=-1)
        columns.insert(0, -tf.nn.softplus(log_head - log_complement))
    return tf.stack(columns, axis=-1)


def _exponentials(
    below: tf.Tensor, temperature: float, hotter: tuple[float, tf.Tensor] | None
) -> tf.Tensor:
    """exp(below / T): at half a known temperature by squaring, a third of the cost."""
    if hotter is not None and hotter[0] == 2.0 * temperature:
        return hotter[1] * hotter[1]
    if hotter is not None and hotter[0] == 4.0 * temperature:
        return tf.square(hotter[1] * hotter[1])
    return tf.exp(below if temperature == 1.0 else below / temperature)
