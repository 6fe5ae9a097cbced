"""The small layers that everything else is made of.

Precision follows the Keras policy under which a layer is made: float32, mixed_bfloat16 or
mixed_float16. Variables are float32 in all of them. Under a mixed policy matrix products run in the
16-bit type; norms, softmax and logits are float32.
"""

# D input width, F output width

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras
import tensorflow as tf

from limbeck.architectures.checks import Activation
from limbeck.models.shapes import sizes

__all__ = ["Dense", "Layer", "Norm", "Precision", "RMSNorm", "activate", "made_with", "wide_type"]

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


@contextmanager
def made_with(precision: Precision | None) -> Iterator[None]:
    """Layers made inside have this Keras policy; None leaves the global one."""
    before = keras.config.dtype_policy()
    if precision is not None:
        keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def wide_type() -> str:
    """The type of variables and of logits: float32 under every precision that we name."""
    return str(keras.config.dtype_policy().variable_dtype)


def activate(x: tf.Tensor, activation: Activation) -> tf.Tensor:
    """Applies an activation.

    `gelu` is the exact one, x * Phi(x) with the error function; `silu` is x * sigmoid(x).
    """
    if activation == "gelu":
        return tf.nn.gelu(x, approximate=False)
    if activation == "gelu_tanh":
        return tf.nn.gelu(x, approximate=True)
    if activation == "silu":
        return tf.nn.silu(x)
    return tf.nn.relu(x)


class Layer(keras.layers.Layer):
    """A Keras layer without automatic casts: what is cast to which type stands in `call`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def add_weight(self, **kwargs: Any) -> keras.Variable:
        """Makes a variable that is never cast on its own: the outermost layer of a call would."""
        return super().add_weight(autocast=False, **kwargs)


class Dense(Layer):
    """x W + b on the last axis, then an activation, with W as (D, F).

    Args:
      input_dim: D.
      output_dim: F.
      activation: applied to the result; None for none.
      has_bias: whether there is b.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        activation: Activation | None = None,
        has_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.activation = activation
        self.has_bias = has_bias

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables; the shape of the input is known already."""
        self.kernel = self.add_weight(
            shape=(self.input_dim, self.output_dim), name="kernel", initializer="zeros"
        )
        if self.has_bias:
            self.bias = self.add_weight(shape=(self.output_dim,), name="bias", initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., F), in the compute type."""
        # One matrix product with its bias and activation right behind it: TensorFlow fuses the
        # three. A product of three axes would be a batched one, which is slower.
        *batch, _ = sizes(x)
        rows = tf.cast(tf.reshape(x, [math.prod(batch), self.input_dim]), self.compute_dtype)
        rows = tf.matmul(rows, tf.cast(self.kernel, self.compute_dtype))
        if self.has_bias:
            rows = tf.nn.bias_add(rows, tf.cast(self.bias, self.compute_dtype))
        if self.activation is not None:
            rows = activate(rows, self.activation)
        return tf.reshape(rows, [*batch, self.output_dim])


class Norm(Layer):
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
        """(..., D) -> (..., D), computed in float32 and returned in the compute type."""
        x = tf.cast(x, self.variable_dtype)
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normal = centred * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta
        return tf.cast(normal, self.compute_dtype)


class RMSNorm(Layer):
    """gamma * x / sqrt(mean(x^2) + epsilon) (Zhang and Sennrich, 2019, arXiv 1910.07467, eq. 4).

    Args:
      dim: width of the last axis.
      epsilon: added to the mean square.
    """

    def __init__(self, dim: int, *, epsilon: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.epsilon = epsilon

    def build(self, input_shape: Any = None) -> None:
        """Makes the variable; the shape of the input is known already."""
        self.gamma = self.add_weight(shape=(self.dim,), name="gamma", initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., D), computed in float32 and returned in the compute type."""
        x = tf.cast(x, self.variable_dtype)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + self.epsilon)
        return tf.cast(x * scale * self.gamma, self.compute_dtype)
