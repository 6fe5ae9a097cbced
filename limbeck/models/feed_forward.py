"""The blocks between attentions."""

# D hidden, F intermediate

from typing import Any

import tensorflow as tf

from limbeck.models.basic import Dense, Layer
from limbeck.models.layer_shape import LayerShape

__all__ = ["FeedForward", "GatedFeedForward"]


class FeedForward(Layer):
    """Two dense layers with an activation between them, D -> F -> D."""

    def __init__(self, shape: LayerShape, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim, width, bias = shape.hidden_dim, shape.intermediate_dim, shape.has_bias
        self.inner = Dense(dim, width, activation=shape.activation, has_bias=bias, name="inner")
        self.outer = Dense(width, dim, has_bias=bias, name="outer")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        self.inner.build()
        self.outer.build()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., D)."""
        return self.outer(self.inner(x))


class GatedFeedForward(Layer):
    """down(activation(gate(x)) * up(x)), without biases (Shazeer, 2020, arXiv 2002.05202, eq. 6).

    With `silu` it is SwiGLU.
    """

    def __init__(self, shape: LayerShape, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim, width = shape.hidden_dim, shape.intermediate_dim
        self.gate = Dense(dim, width, activation=shape.activation, has_bias=False, name="gate")
        self.up = Dense(dim, width, has_bias=False, name="up")
        self.down = Dense(width, dim, has_bias=False, name="down")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        for layer in (self.gate, self.up, self.down):
            layer.build()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., D)."""
        return self.down(self.gate(x) * self.up(x))
