"""Dropout in heads, and the head that most others are: dropout and a dense layer."""

# B rows, T tokens, D hidden, C outputs

from typing import Any

import tensorflow as tf

from limbeck.models.basic import Dense, wide_type
from limbeck.models.dropout import DropoutKeys, KeyedDropout

__all__ = ["DroppedDense", "HeadDropout"]

_FIRST_ID = 1 << 31  # beyond every layer's


class HeadDropout(KeyedDropout):
    """Keyed dropout of states (B, T, D) or of one state a row, (B, D).

    Args:
      rate: probability that an element is dropped.
      number: tells the dropouts of a head apart.
    """

    def __init__(self, rate: float, *, number: int = 0, **kwargs: Any) -> None:
        super().__init__(rate, layer_id=_FIRST_ID + number, **kwargs)

    def call(self, x: tf.Tensor, keys: DropoutKeys | None = None) -> tf.Tensor:
        """Drops elements of x."""
        if x.shape.rank == 2:
            return super().call(x[:, tf.newaxis], keys=keys)[:, 0]
        return super().call(x, keys=keys)


class DroppedDense(Dense):
    """Dropout, then logits: a dense layer in float32 whatever the precision.

    Args:
      dim: D.
      num_outputs: C.
      rate: of the dropout.
      number: of the dropout, see HeadDropout.
    """

    def __init__(
        self, dim: int, num_outputs: int, *, rate: float = 0.0, number: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(dim, num_outputs, dtype=wide_type(), **kwargs)
        self.dropout = HeadDropout(rate, number=number, name="dropout")

    def call(self, x: tf.Tensor, *, dropout: DropoutKeys | None = None) -> tf.Tensor:
        """(B, D) or (B, T, D) -> (B, C) or (B, T, C)."""
        return super().call(self.dropout(x, keys=dropout))
