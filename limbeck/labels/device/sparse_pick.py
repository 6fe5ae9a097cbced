"""TensorFlow twin of `limbeck.labels.sparse_pick`: the same integers, so the same ids.

A cumulative sum over V costs more than all else, so points are looked up in two steps: in the sums
of blocks, then inside the block that each is in. Rows are taken some at a time, which bounds the
float64 memory and stays in the cache: 190 us a row at V = 30,522 on one core of a CPU, where the
plain way takes 440.
"""

# N positions, V vocabulary, K ids that are kept anyway, E entries at most

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_pick import DRAWN, HEAD, ID_BITS, MIXED_SCALE, NO_ENTRY, SCALE

__all__ = ["Picked", "pick"]

ROWS_AT_A_TIME = 32
BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class Picked:
    """Entries of N positions: the head, then what was drawn, each by id; then none."""

    ids: Any
    """(N, E) int32, 0 where there is no entry."""
    probs: Any
    """(N, E) float64 mean probabilities of these ids."""
    num_head: Any
    """(N,) int32."""
    num_drawn: Any
    """(N,) int32."""


def pick(
    logits: tf.Tensor,
    zmax: tf.Tensor,
    top: tf.Tensor,
    *,
    signal: SparseSignal,
    draws: tf.Tensor | None,
) -> Picked:
    """Picks the entries of N positions; see `limbeck.labels.sparse_pick.pick`.

    Args:
      logits: (N, V) float32.
      zmax: (N, 1) the largest of each row.
      top: (N, K) int32 ids to keep whatever they are.
      signal: has a threshold.
      draws: (N, 2) int32; None draws nothing from below the threshold.
    """
    num_rows = tf.shape(logits)[0]
    size = tf.minimum(num_rows, ROWS_AT_A_TIME)  # of every part: the last one overlaps
    last = num_rows - size
    num_parts = tf.maximum(1, -(-num_rows // ROWS_AT_A_TIME))
    starts = tf.minimum(tf.range(num_parts) * ROWS_AT_A_TIME, last)

    def part(start: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def rows(x: tf.Tensor) -> tf.Tensor:
            cut = tf.slice(x, tf.stack([start, 0]), tf.stack([size, x.shape[1]]))
            return tf.ensure_shape(cut, [None, x.shape[1]])

        return _pick(
            rows(logits) - rows(zmax), rows(top), None if draws is None else rows(draws), signal
        )

    entries, counts = [None, signal.max_entries], [None]
    specs = (
        tf.TensorSpec(entries, tf.int32),
        tf.TensorSpec(entries, tf.float64),
        tf.TensorSpec(counts, tf.int32),
        tf.TensorSpec(counts, tf.int32),
    )
    parts = tf.map_fn(part, starts, fn_output_signature=specs, parallel_iterations=1)
    row = tf.range(num_rows)
    number = row // ROWS_AT_A_TIME
    index = tf.stack([number, row - tf.gather(starts, number)], axis=-1)
    ids, probs, num_head, num_drawn = (tf.gather_nd(values, index) for values in parts)
    return Picked(ids=ids, probs=probs, num_head=num_head, num_drawn=num_drawn)


def _pick(
    relative: tf.Tensor, top: tf.Tensor, draws: tf.Tensor | None, signal: SparseSignal
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    sizes = _mean_sizes(relative, signal.temperatures)
    total = tf.reduce_sum(sizes, axis=-1, keepdims=True)
    step = tf.floor(tf.cast(total, tf.float64) * signal.threshold)
    step = tf.maximum(tf.cast(step, tf.int64), 1)
    if draws is None:
        lengths = tf.where(sizes >= step, step, tf.zeros_like(sizes))
    else:
        lengths = tf.minimum(sizes, step)
    rows = tf.broadcast_to(tf.range(tf.shape(top)[0])[:, None], tf.shape(top))
    lengths = tf.tensor_scatter_nd_update(
        lengths, tf.stack([rows, top], axis=-1), tf.broadcast_to(step, tf.shape(top))
    )
    ids, is_there = _ids_at_points(lengths, step, draws, signal.max_entries)
    is_top = tf.reduce_any(ids[:, :, None] == top[:, None, :], axis=-1)
    is_head = is_there & ((tf.gather(sizes, ids, batch_dims=1) >= step) | is_top)
    kind = tf.where(is_head, HEAD, tf.where(is_there, DRAWN, NO_ENTRY))
    keys = tf.sort(kind * (1 << ID_BITS) + tf.where(is_there, ids, 0), axis=-1)
    ids, kind = keys % (1 << ID_BITS), keys // (1 << ID_BITS)
    size = tf.gather(sizes, ids, batch_dims=1)
    probs = tf.cast(size, tf.float64) / tf.cast(total, tf.float64)
    counts = [tf.reduce_sum(tf.cast(kind == which, tf.int32), axis=-1) for which in (HEAD, DRAWN)]
    return ids, probs, counts[0], counts[1]


def _mean_sizes(relative: tf.Tensor, temperatures: Sequence[float]) -> tf.Tensor:
    wide = tf.cast(relative, tf.float64)
    first, *others = (
        tf.cast(tf.exp(wide if t == 1.0 else wide / t) * SCALE, tf.int64) for t in temperatures
    )
    if not others:
        return first
    mixed = tf.zeros_like(first)
    for sizes in (first, *others):
        total = tf.cast(tf.reduce_sum(sizes, axis=-1, keepdims=True), tf.float64)
        mixed += tf.cast(tf.cast(sizes, tf.float64) * (MIXED_SCALE / total), tf.int64)
    return mixed


def _ids_at_points(
    lengths: tf.Tensor, step: tf.Tensor, draws: tf.Tensor | None, max_entries: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """(N, E) id at each point along the row of ids, and whether the point is on it."""
    vocab_size = lengths.shape[-1]
    num_blocks = -(-vocab_size // BLOCK)
    padded = tf.pad(lengths, [[0, 0], [0, num_blocks * BLOCK - vocab_size]])
    blocks = tf.reshape(padded, [-1, num_blocks, BLOCK])
    block_sums = tf.reduce_sum(blocks, axis=-1)
    block_ends = tf.cumsum(block_sums, axis=-1)
    total = block_ends[:, -1:]
    places = tf.range(max_entries, dtype=tf.int64) * step
    is_there = places < total
    if draws is not None:
        words = tf.cast(tf.bitcast(draws, tf.uint32), tf.int64)
        start = tf.cast(words[:, :1], tf.float64) * 2.0**-32 * tf.cast(step, tf.float64)
        places += tf.cast(start, tf.int64)
        is_there = places < total
        places += _ends_before(
            blocks,
            block_ends - block_sums,
            tf.bitwise.right_shift(words[:, 1] * vocab_size, tf.constant(32, tf.int64)),
        )
        places = tf.where(places >= total, places - total, places)
    block = tf.searchsorted(block_ends, places, side="right", out_type=tf.int32)
    block = tf.minimum(block, num_blocks - 1)
    inside = places - tf.gather(block_ends - block_sums, block, batch_dims=1)
    ends = tf.cumsum(tf.gather(blocks, block, batch_dims=1), axis=-1)
    before = tf.reduce_sum(tf.cast(ends <= inside[:, :, None], tf.int32), axis=-1)
    return tf.minimum(block * BLOCK + before, vocab_size - 1), is_there


def _ends_before(blocks: tf.Tensor, block_starts: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """(N, 1) where the id of each row begins."""
    ids = tf.cast(ids, tf.int32)
    inside = tf.gather(blocks, (ids // BLOCK)[:, None], batch_dims=1)[:, 0]
    earlier = tf.range(BLOCK) < (ids % BLOCK)[:, None]
    within = tf.reduce_sum(tf.where(earlier, inside, tf.zeros_like(inside)), axis=-1)
    return tf.gather(block_starts, (ids // BLOCK)[:, None], batch_dims=1) + within[:, None]
