"""Sizes of tensors: Python numbers where known when the graph is made, tensors elsewhere."""

from typing import Any

import tensorflow as tf

__all__ = ["sizes"]


def sizes(x: tf.Tensor) -> list[Any]:
    """The size of every axis of x."""
    if x.shape.is_fully_defined():
        return list(x.shape)
    dynamic = tf.unstack(tf.shape(x))
    return [static if static is not None else dynamic[axis] for axis, static in enumerate(x.shape)]
