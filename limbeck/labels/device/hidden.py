"""TensorFlow twin of `limbeck.labels.hidden`."""

# N positions, D hidden width

from typing import Literal

import tensorflow as tf

__all__ = ["encode_states"]


def encode_states(states: tf.Tensor, *, dtype: Literal["float16", "float32"]) -> tf.Tensor:
    """Rounds states to the stored dtype, bit-equal to the NumPy codec.

    What overflows becomes infinite here and is found by `limbeck.labels.hidden.find_fault` once
    it is on the host; clipping would hide it.

    Args:
      states: (..., D) float32.
      dtype: what to store.
    """
    return tf.cast(states, dtype)
