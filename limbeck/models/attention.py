"""Multi-head self-attention (Vaswani et al., 2017, section 3.2) with keyed dropout."""

# B rows, T tokens, D hidden, H heads, A = D / H width of a head

import math
from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.bert import BertArchitecture
from limbeck.models.basic import Dense
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.shapes import sizes

__all__ = ["SelfAttention", "attention_bias"]

# Added to the scores of padded keys. Finite, so that a row of nothing but padding has a softmax
# (an even one); so large that exp() of it is exactly 0 beside any real score.
_NEVER = -1e9


def attention_bias(attention_mask: tf.Tensor) -> tf.Tensor:
    """(B, T) integer, 1 where a token is real -> (B, 1, 1, T) float32 to add to the scores."""
    padded = 1.0 - tf.cast(attention_mask, tf.float32)
    return padded[:, tf.newaxis, tf.newaxis, :] * _NEVER


class SelfAttention(keras.layers.Layer):
    """softmax(Q K' / sqrt(A) + bias) V, heads side by side, then the output projection.

    Args:
      architecture: the model's shape.
      layer_id: of the dropout of the attention probabilities.
    """

    def __init__(self, architecture: BertArchitecture, *, layer_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim = architecture.hidden_dim
        self.num_heads = architecture.num_heads
        self.head_dim = architecture.head_dim
        self.query = Dense(dim, dim, name="query")
        self.key = Dense(dim, dim, name="key")
        self.value = Dense(dim, dim, name="value")
        self.output_projection = Dense(dim, dim, name="output")
        self.dropout = KeyedDropout(
            architecture.attention_dropout, layer_id=layer_id, name="dropout"
        )

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build()

    def call(
        self, x: tf.Tensor, bias: tf.Tensor, *, dropout: DropoutKeys | None = None
    ) -> tf.Tensor:
        """Attends.

        Args:
          x: (B, T, D).
          bias: (B, 1, 1, T), see `attention_bias`.
          dropout: keys of the B rows, or None for none.

        Returns:
          (B, T, D).
        """
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = tf.matmul(query, key, transpose_b=True) * (1.0 / math.sqrt(self.head_dim))
        probabilities = self.dropout(tf.nn.softmax(scores + bias), keys=dropout)
        context = tf.transpose(tf.matmul(probabilities, value), (0, 2, 1, 3))  # (B, T, H, A)
        return self.output_projection(tf.reshape(context, sizes(x)))

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        """(B, T, D) -> (B, H, T, A)."""
        batch, tokens, _ = sizes(x)
        return tf.transpose(
            tf.reshape(x, [batch, tokens, self.num_heads, self.head_dim]), (0, 2, 1, 3)
        )
