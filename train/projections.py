"""Trained maps from the student's states to the teacher's width; of the run, not of the student.

A kind of map is a class with a constructor as below, `variables` and a call. A map of one's own:

    @projection("diagonal")
    class Diagonal:
        def __init__(self, name, *, source_dim, target_dim, seed):
            self.name = name
            self.scale = keras.Variable(np.ones(source_dim, np.float32), name="scale")

        @property
        def variables(self):
            return {"scale": self.scale}

        def __call__(self, states):
            return states * self.scale.value

A recipe then says `projection: diagonal`. Variables stand in checkpoints as
`projection/NAME/scale`, and have the optimiser's `projection_rate`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from train.recipe import ProjectionPlan
from train.recipe.projection_kinds import check_kind, declare_kind

__all__ = ["Linear", "LinearReLU", "LinearTanh", "make_projection", "projection"]

C = TypeVar("C", bound=type)
_kinds: dict[str, Any] = {}


def projection(kind: str) -> Callable[[C], C]:
    """Makes recipes know a kind of map by this name.

    The class is called with a name and, by keyword, `source_dim`, `target_dim` and `seed`; what it
    makes is a `train.formula.Projection`. It may refuse widths by a ValueError.

    Raises:
      ValueError: the name is `none`, or another class has it.
    """

    def tie(cls: C) -> C:
        if _kinds.get(kind, cls).__qualname__ != cls.__qualname__:
            raise ValueError(f"projection {kind!r} is {_kinds[kind].__name__} already")
        declare_kind(kind)
        _kinds[kind] = cls
        return cls

    return tie


def make_projection(plan: ProjectionPlan, *, seed: int) -> Any:
    """The map of a plan, with its first weights.

    Raises:
      UsageError: no such kind, or one that cannot map between these widths.
    """
    check_kind(plan.kind)
    if plan.kind not in _kinds:
        raise UsageError(f"projection {plan.kind!r} is declared, but no class is tied to it")
    widths = {"source_dim": plan.source_dim, "target_dim": plan.target_dim}
    try:
        return _kinds[plan.kind](plan.name, **widths, seed=seed)
    except ValueError as error:
        raise UsageError(f"projection {plan.name!r} ({plan.kind}): {error}") from error


@projection("linear")
class Linear:
    """x W + b.

    Args:
      name: stands before the names of its two variables.
      source_dim: the student's width.
      target_dim: the teacher's width.
      seed: draws W from N(0, 1 / source_dim); b starts at 0.
    """

    def __init__(self, name: str, *, source_dim: int, target_dim: int, seed: int) -> None:
        rng = np.random.default_rng([seed, source_dim, target_dim, *name.encode()])
        kernel = rng.standard_normal((source_dim, target_dim)) / np.sqrt(source_dim)
        self.kernel = keras.Variable(kernel.astype(np.float32), name="kernel")
        self.bias = keras.Variable(np.zeros(target_dim, np.float32), name="bias")
        self.name = name

    @property
    def variables(self) -> Mapping[str, Any]:
        """Its kernel and bias."""
        return {"kernel": self.kernel, "bias": self.bias}

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        """(..., source_dim) -> (..., target_dim)."""
        return tf.tensordot(states, self.kernel.value, axes=1) + self.bias.value


@projection("linear_relu")
class LinearReLU(Linear):
    """max(x W + b, 0)."""

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        """(..., source_dim) -> (..., target_dim), at least 0."""
        return tf.nn.relu(super().__call__(states))


@projection("linear_tanh")
class LinearTanh(Linear):
    """tanh(x W + b)."""

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        """(..., source_dim) -> (..., target_dim), between -1 and 1."""
        return tf.tanh(super().__call__(states))
