"""TensorFlow twin of `limbeck.labels.state_codecs` and of what `limbeck.labels.states` adds.

Bits are equal to the NumPy codec's, but for a basis: a matrix product sums in an order of its own.
"""

# N positions, D width of a state, O outlier channels, R components of a basis

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.labels.fitted import Fitted
from limbeck.labels.state_codecs import LEAST, ONE_127TH, SMALLEST_NORMAL, Settled
from limbeck.labels.states import settled_of

__all__ = ["decode_states", "encode_states", "encode_vectors"]


def encode_states(fitted: Fitted, states: tf.Tensor) -> dict[str, tf.Tensor]:
    """Encodes (N, D) float32 states of a `hidden`, `final` or `relations` family."""
    states = tf.cast(states, tf.float32)
    if "basis" in fitted.tensors:
        mean, basis = (tf.constant(fitted.tensors[name]) for name in ("mean", "basis"))
        states = tf.matmul(states - mean, basis, transpose_b=True)
    return encode_vectors(states, settled_of(fitted))


def encode_vectors(states: tf.Tensor, settled: Settled) -> dict[str, tf.Tensor]:
    """Encodes (N, ...) float32; int8 takes (N, D). See `limbeck.labels.state_codecs.encode`."""
    if settled.codec == "int8":
        return _encode_int8(states, settled.outliers)
    if settled.codec == "bfloat16":
        bits = tf.bitcast(tf.cast(_without_subnormals(states), tf.bfloat16), tf.uint16)
        # One NaN for all: others may be quiet or not, negative or not.
        return {"states": tf.where(tf.math.is_nan(states), tf.constant(0x7FC0, tf.uint16), bits)}
    if settled.codec == "float16":
        return {"states": tf.cast(_without_subnormals(states), tf.float16)}
    return {"states": states}


def decode_states(fitted: Fitted, arrays: Mapping[str, Any]) -> tf.Tensor:
    """States (..., D) float32 from the stored arrays of a family, any leading shape."""
    settled = settled_of(fitted)
    states = tf.convert_to_tensor(arrays["states"])
    if settled.codec == "bfloat16":
        states = tf.cast(tf.bitcast(states, tf.bfloat16), tf.float32)
    elif settled.codec == "int8":
        states = tf.cast(states, tf.float32) * tf.cast(arrays["scales"], tf.float32)[..., None]
        if settled.outliers:
            states += _spread(arrays["outliers"], settled.outliers, width=states.shape[-1])
    states = tf.cast(states, tf.float32)
    if "basis" in fitted.tensors:
        mean, basis = (tf.constant(fitted.tensors[name]) for name in ("mean", "basis"))
        states = tf.linalg.matvec(basis, states, transpose_a=True) + mean
    return states


def _encode_int8(states: tf.Tensor, outliers: tuple[int, ...]) -> dict[str, tf.Tensor]:
    finite = tf.reduce_all(tf.math.is_finite(states), axis=-1)
    inner = states
    if outliers:
        inside = np.ones(states.shape[-1], bool)
        inside[list(outliers)] = False
        inner = tf.where(inside, states, 0.0)
    largest = tf.reduce_max(tf.abs(tf.where(finite[:, None], inner, 0.0)), axis=-1)
    counts = tf.logical_and(finite, largest >= LEAST)
    scales = tf.where(counts, largest * tf.constant(ONE_127TH, tf.float32), 0.0)
    divisor = tf.where(counts, scales, 1.0)[:, None]
    quotients = tf.where(counts[:, None], inner, 0.0) / divisor
    arrays = {
        "states": tf.cast(tf.round(quotients), tf.int8),
        "scales": tf.where(finite, scales, float("nan")),
    }
    if outliers:
        kept = tf.gather(states, list(outliers), axis=-1)
        arrays["outliers"] = tf.cast(_without_subnormals(kept), tf.float16)
    return arrays


def _without_subnormals(states: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.abs(states) < SMALLEST_NORMAL, 0.0, states)


def _spread(values: Any, channels: tuple[int, ...], *, width: int) -> tf.Tensor:
    """(..., O) -> (..., D): each value in its channel, 0 elsewhere; exact, no gradient needed."""
    places = np.zeros((len(channels), width), np.float32)
    places[np.arange(len(channels)), list(channels)] = 1.0
    return tf.tensordot(tf.cast(values, tf.float32), places, axes=1)
