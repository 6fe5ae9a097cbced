"""The two small layers that everything else is made of."""

# D input width, F output width

import math
from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.bert import Activation
from limbeck.models.shapes import sizes

__all__ = ["Dense", "Norm", "activate"]


def activate(x: tf.Tensor, activation: Activation) -> tf.Tensor:
    """Applies an activation; `gelu` is the exact one, x * Phi(x) with the error function."""
    if activation == "gelu":
        return tf.nn.gelu(x, approximate=False)
    if activation == "gelu_tanh":
        return tf.nn.gelu(x, approximate=True)
    return tf.nn.relu(x)


class Dense(keras.layers.Layer):
    """x W + b on the last axis, then an activation, with W as (D, F).

    Args:
      input_dim: D.
      output_dim: F.
      activation: applied to the result; None for none.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        activation: Activation | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.activation = activation

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables; the shape of the input is known already."""
        self.kernel = self.add_weight(
            shape=(self.input_dim, self.output_dim), name="kernel", initializer="zeros"
        )
        self.bias = self.add_weight(shape=(self.output_dim,), name="bias", initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., F)."""
        # One matrix product with its bias and activation right behind it: TensorFlow fuses the
        # three. A product of three axes would be a batched one, which is slower.
        *batch, _ = sizes(x)
        rows = tf.matmul(tf.reshape(x, [math.prod(batch), self.input_dim]), self.kernel)
        rows = tf.nn.bias_add(rows, self.bias)
        if self.activation is not None:
            rows = activate(rows, self.activation)
        return tf.reshape(rows, [*batch, self.output_dim])


class Norm(keras.layers.Layer):
    """Layer norm over the last axis: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    Args:
      dim: width of the last axis.
      epsilon: added to the (biased) variance.
    """

    def __init__(self, dim: int, *, epsilon: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.epsilon = epsilon

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables; the shape of the input is known already."""
        self.gamma = self.add_weight(shape=(self.dim,), name="gamma", initializer="zeros")
        self.beta = self.add_weight(shape=(self.dim,), name="beta", initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., D)."""
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        return centred * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta
