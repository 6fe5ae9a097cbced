"""From states to logits over the vocabulary."""

# B rows, T tokens, P positions, N states, D hidden, E embedding width, V vocabulary

import math
from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Dense, Layer, Norm
from limbeck.models.shapes import sizes

__all__ = ["MaskedLMHead", "project", "states_at"]


class MaskedLMHead(Layer):
    """Dense, activation and norm, D -> E, before the tied decoder; owns the decoder's bias."""

    def __init__(self, architecture: EncoderArchitecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim, width = architecture.hidden_dim, architecture.embedding_width
        self.vocab_size = architecture.vocab_size
        self.transform = Dense(
            dim, width, activation=architecture.head_activation, name="transform"
        )
        self.norm = Norm(width, epsilon=architecture.layer_norm_epsilon, name="norm")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        self.output_bias = self.add_weight(
            shape=(self.vocab_size,), name="output_bias", initializer="zeros"
        )
        self.transform.build()
        self.norm.build()

    def call(self, states: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., E): what the decoder multiplies."""
        return self.norm(self.transform(states))


def states_at(states: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """The states (B, P, D) at integer positions (B, P), below T, of states (B, T, D)."""
    batch, num_tokens, dim = sizes(states)
    first = tf.range(batch, dtype=positions.dtype) * tf.cast(num_tokens, positions.dtype)
    flat = tf.reshape(states, [batch * num_tokens, dim])
    return tf.gather(flat, positions + first[:, tf.newaxis])


def project(
    states: tf.Tensor,
    matrix: keras.Variable,
    bias: keras.Variable | None,
    *,
    transposed: bool,
    multiple: int = 1,
) -> tf.Tensor:
    """Multiplies states by a vocabulary's matrix.

    Args:
      states: (..., E), in the type that the product is to be computed in.
      matrix: (V, E) if `transposed` (the token embeddings), else (E, V).
      bias: (V,), or None for none.
      transposed: see `matrix`.
      multiple: V is filled up to a multiple of it for the product, with zeros whose columns are
        cut off again: some devices multiply faster by multiples of 8 or 128. The result is the
        same.

    Returns:
      (..., V) of the variables' type, float32.
    """
    *batch, width = sizes(states)
    vocab_size = matrix.shape[0 if transposed else 1]
    rows = tf.reshape(states, [math.prod(batch), width])
    columns = tf.cast(matrix, states.dtype)
    if padding := -vocab_size % multiple:
        columns = tf.pad(columns, [[0, padding], [0, 0]] if transposed else [[0, 0], [0, padding]])
    logits = tf.matmul(rows, columns, transpose_b=transposed)
    if padding:
        logits = logits[:, :vocab_size]
    logits = tf.cast(logits, matrix.dtype)
    if bias is not None:
        logits = tf.nn.bias_add(logits, bias)
    return tf.reshape(logits, [*batch, vocab_size])
