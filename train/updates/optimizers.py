"""Adam's family, written out from the papers: AdamW, LAMB, Adam, each with or without correction.

With g the clipped gradient, t = 1, 2, ... the number of the update and all operations by element:

    m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
    u = (m / c1) / (sqrt(v / c2) + epsilon)     c1 = 1 - b1^t, c2 = 1 - b2^t; both 1 uncorrected
    w = w - r (u + d w)                          d the weight decay, r the variable's rate

Adam (Kingma and Ba 2015, algorithm 1) has d = 0; AdamW is Loshchilov and Hutter 2019, algorithm 2.
LAMB (You et al. 2020, algorithm 2, phi the identity) multiplies r by the trust ratio
||w|| / ||u + d w||, or by 1 where either norm is 0, and by 1 for the variables that decay spares,
as its authors' code does. Keras' Adam adds epsilon before the correction, which is another formula.

The arithmetic is float32, compiled as one program by the caller; c1 and c2 are computed in float64,
since 1 - 0.999 in float32 is off by 5e-5 of itself.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from train.recipe import Optimizer

__all__ = ["AdamFamily", "Group", "variable_groups"]

_LAYER = re.compile(r"model/.*?layer_(\d+)/")
_BELOW_LAYERS = re.compile(r"model/.*?embeddings/")


@dataclass(frozen=True, kw_only=True)
class Group:
    """What is particular to a variable."""

    rate: float
    """Multiplies the learning rate."""

    decays: bool
    """Whether weight decay, and LAMB's trust ratio, apply to it."""


def variable_groups(settings: Optimizer, ranks: Mapping[str, int]) -> dict[str, Group]:
    """The group of every trained variable.

    Args:
      settings: the recipe's.
      ranks: name in checkpoints (`model/encoder/layer_0/...`, `projection/...`) -> number of
        dimensions. Vectors are biases and norms: they never decay.

    Raises:
      UsageError: `no_decay` names what is not there.
    """
    last = max((int(found[1]) for name in ranks if (found := _LAYER.match(name))), default=-1)
    spared = _spared(settings.no_decay, [*ranks])
    return {
        name: Group(
            rate=_rate(settings, name, last_layer=last),
            decays=dimensions > 1 and name not in spared,
        )
        for name, dimensions in ranks.items()
    }


class AdamFamily:
    """The optimiser of a run. Its slots exist from the start, so a checkpoint can be loaded.

    Args:
      settings: the recipe's.
      variables: name in checkpoints -> trained Keras variable, in the order of the gradients.

    Raises:
      UsageError: `no_decay` names what is not there.
    """

    def __init__(self, settings: Optimizer, variables: Mapping[str, Any]) -> None:
        self._settings = settings
        self._trained = list(variables.values())
        groups = variable_groups(settings, {n: len(v.shape) for n, v in variables.items()})
        self.groups: tuple[Group, ...] = tuple(groups.values())
        """Of the variables, in their order."""
        self.updates = keras.Variable(
            np.zeros(3, np.int64), dtype="int64", trainable=False, name="updates"
        )
        """(3,) int64: applied, left out, and left out in a row for no good reason; see `skip`."""
        self._means = [_slot(v, "mean") for v in self._trained]
        self._squares = [_slot(v, "square") for v in self._trained]

    @property
    def variables(self) -> list[Any]:
        """All state, for checkpoints: `updates`, then every mean, then every mean square."""
        return [self.updates, *self._means, *self._squares]

    @property
    def num_applied(self) -> int:
        """t: updates made."""
        return int(self.updates.value[0])

    @property
    def num_skipped(self) -> int:
        """Updates left out so far."""
        return int(self.updates.value[1])

    @property
    def skipped_in_a_row(self) -> int:
        """How many of the last updates were left out for no good reason."""
        return int(self.updates.value[2])

    def skip(self, *, explained: bool) -> None:
        """Notes an update that is left out; `explained` is one that a loss scale accounts for."""
        applied, skipped, in_a_row = self.updates.value.numpy().tolist()
        self.updates.assign([applied, skipped + 1, in_a_row if explained else in_a_row + 1])

    def apply(self, grads: Sequence[tf.Tensor], learning_rate: Any, *, factor: Any = 1.0) -> None:
        """Makes one update; inside a `tf.function` or outside.

        Args:
          grads: dense float32, one a variable, in their order.
          learning_rate: scalar, before the groups' own rates.
          factor: scalar that multiplies every gradient first: clipping and loss scale in one.
        """
        count = self.updates.value[0] + 1
        self.updates.assign(tf.stack([count, self.updates.value[1], 0]))
        corrections = self._corrections(count)
        slots = zip(self._trained, self._means, self._squares, self.groups, grads, strict=True)
        for variable, mean, square, group, gradient in slots:
            direction = self._direction(mean, square, gradient * factor, corrections)
            step = learning_rate * group.rate
            weight = variable.value
            if group.decays:
                direction += self._settings.decoupled_decay * weight
                if self._settings.algorithm == "lamb":
                    step *= _trust_ratio(weight, direction)
            variable.assign(weight - step * direction)

    def _corrections(self, count: tf.Tensor) -> tuple[Any, Any]:
        """c1 and c2."""
        if not self._settings.bias_correction:
            return 1.0, 1.0
        betas = self._settings.beta_1, self._settings.beta_2
        return _one_minus_power(betas[0], count), _one_minus_power(betas[1], count)

    def _direction(
        self, mean: Any, square: Any, gradient: tf.Tensor, corrections: tuple[Any, Any]
    ) -> tf.Tensor:
        """u of one variable, its slots brought forward."""
        first = mean.value + (gradient - mean.value) * (1.0 - self._settings.beta_1)
        second = square.value + (gradient * gradient - square.value) * (1.0 - self._settings.beta_2)
        mean.assign(first)
        square.assign(second)
        root = tf.sqrt(second / corrections[1]) + self._settings.epsilon
        return first / corrections[0] / root


def _one_minus_power(base: float, exponent: tf.Tensor) -> tf.Tensor:
    """1 - base^exponent as float32, exact to its last bits also where base is close to 1."""
    if base == 0.0:
        return tf.constant(1.0)
    power = tf.cast(exponent, tf.float64) * math.log(base)
    return tf.cast(-tf.math.expm1(power), tf.float32)


def _trust_ratio(weight: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
    norms = tf.norm(weight), tf.norm(direction)
    usable = (norms[0] > 0.0) & (norms[1] > 0.0)
    return tf.where(usable, norms[0] / tf.where(usable, norms[1], 1.0), 1.0)


def _slot(variable: Any, name: str) -> Any:
    zeros = np.zeros(tuple(variable.shape), np.float32)
    return keras.Variable(zeros, trainable=False, name=name, dtype="float32")


def _rate(settings: Optimizer, name: str, *, last_layer: int) -> float:
    if name.startswith("projection/"):
        return settings.projection_rate
    if found := _LAYER.match(name):
        below = last_layer - int(found[1])
    else:
        below = last_layer + 1 if _BELOW_LAYERS.match(name) else 0
    return settings.layer_decay**below


def _spared(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """The names that `no_decay` means, which leaves out their `model/`."""
    spared: set[str] = set()
    for pattern in patterns:
        stems = [f"{front}{pattern.removesuffix('/')}" for front in ("model/", "")]
        found = {n for n in names for stem in stems if n == stem or n.startswith(f"{stem}/")}
        if not found:
            raise UsageError(
                f"optimizer.no_decay: no trained variable is or begins with {pattern!r}; they are "
                f"named as {names[0].removeprefix('model/')} and {names[-1].removeprefix('model/')}"
            )
        spared |= found
    return spared
