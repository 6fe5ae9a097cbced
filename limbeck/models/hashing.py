"""A small integer hash on uint32 tensors, for random bits that depend only on what they belong to.

Plain shifts, xors and wrapping multiplications: the same bits on every device, under XLA, with
deterministic ops, and in NumPy.
"""

# B rows

from collections.abc import Iterable

import tensorflow as tf

__all__ = ["absorb", "mix", "start", "words"]

# Two independent lanes: 64 bits of state, so that two rows never share a mask in practice.
_LANES = (0x9E3779B9, 0x85EBCA6B)  # 2^32 / golden ratio; a constant of MurmurHash3


def mix(x: tf.Tensor) -> tf.Tensor:
    """A bijection of uint32 that flips every output bit with probability 1/2 (bias < 0.2 %).

    The constants are those of "lowbias32" (C. Wellons, hash-prospector, public domain).
    """
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))
    x = x * tf.constant(0x7FEB352D, tf.uint32)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.uint32)))
    x = x * tf.constant(0x846CA68B, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(16, tf.uint32)))


def start() -> tuple[tf.Tensor, tf.Tensor]:
    """The state (two uint32 scalars) before anything is absorbed."""
    first, second = (tf.constant(lane, tf.uint32) for lane in _LANES)
    return first, second


def absorb(
    state: tuple[tf.Tensor, tf.Tensor], values: Iterable[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes uint32 tensors into a state, one after another; shapes broadcast."""
    first, second = state
    for value in values:
        first = mix(tf.bitwise.bitwise_xor(first, value))
        second = mix(tf.bitwise.bitwise_xor(second, value))
    return first, second


def words(number: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    """The low and high 32 bits of an integer scalar; equal for int32 and int64 of equal value."""
    pair = tf.bitcast(tf.cast(number, tf.int64), tf.uint32)  # little-endian
    return pair[0], pair[1]
