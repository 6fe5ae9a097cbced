"""TensorFlow twin of `limbeck.labels.final`: the teacher's logits from its stored states."""

# N positions, D width of a state, V vocabulary

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from limbeck.labels.device.states import decode_states
from limbeck.labels.fitted import Fitted

__all__ = ["full_logits"]


def full_logits(fitted: Fitted, arrays: Mapping[str, Any]) -> tf.Tensor:
    """The teacher's (N, V) float32 logits from the stored arrays of a `final` family."""
    kernel, bias = (tf.constant(fitted.tensors[f"decoder/{n}"]) for n in ("kernel", "bias"))
    return tf.matmul(decode_states(fitted, arrays), kernel, transpose_b=True) + bias
