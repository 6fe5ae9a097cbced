"""Dynamic loss scaling, which float16 needs: small gradients would be 0 in it.

The objective is multiplied by a scale before differentiation and the summed gradients are divided
by it. Where they are not finite the update is left out and the scale halved; after `GROW_EVERY`
good updates in a row it is doubled (Micikevicius et al. 2018, section 3.2). The scale is a power of
two, so multiplying and dividing by it changes no bit of a gradient that float16 can hold. It is
decided by the gradients summed over ranks, so it is equal on all of them.
"""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["GROW_EVERY", "LossScale"]

START = 2.0**15
GROW_EVERY = 2000
_LARGEST = 2.0**24


class LossScale:
    """The scale and how many updates in a row were good; both stand in checkpoints."""

    def __init__(self) -> None:
        self.scale = keras.Variable(START, name="scale", trainable=False, dtype="float32")
        self.good = keras.Variable(0.0, name="good", trainable=False, dtype="float32")

    @property
    def named_variables(self) -> dict[str, Any]:
        """Its state by the names in checkpoints."""
        return {"loss_scale/scale": self.scale, "loss_scale/good": self.good}

    @property
    def is_exhausted(self) -> bool:
        """Whether halving did not help: the gradients themselves are not finite."""
        return float(self.scale.value) < 1.0

    def settle(self, finite: tf.Tensor) -> None:
        """Notes whether the gradients of a step were finite."""
        good = tf.where(finite, self.good.value + 1.0, 0.0)
        grown = tf.minimum(self.scale.value * 2.0, _LARGEST)
        is_due = good >= GROW_EVERY
        scale = tf.where(is_due, grown, self.scale.value)
        self.scale.assign(tf.where(finite, scale, self.scale.value * 0.5))
        self.good.assign(tf.where(is_due, 0.0, good))
