"""Functions with a gradient written out, traced in a graph of their own.

`tf.custom_gradient` enters the gradient into a registry that is never emptied. Traced inside a
training step, its function would thus keep the step's graph, and with it every variable of that
student, for as long as the process lives: the stages of a run would pile up on the device. In a
graph of its own it keeps that small graph, once for each kind of input, whatever the number of
runs.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tensorflow as tf

__all__ = ["own_graph"]

P = ParamSpec("P")
R = TypeVar("R")


def own_graph(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function as it is when called eagerly, and traces it once where a graph is built.

    Args:
      function: takes all tensors that it looks at as arguments, since what it captured would be
        kept; numbers and flags may be arguments too, and are traced one by one.
    """
    traced = tf.function(function, autograph=False)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        chosen: Callable[P, R] = function if tf.executing_eagerly() else traced
        return chosen(*args, **kwargs)

    return call
