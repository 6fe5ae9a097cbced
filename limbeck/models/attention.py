"""Multi-head self-attention (Vaswani et al., 2017, section 3.2) with keyed dropout.

Grouped queries (Ainslie et al., 2023, arXiv 2305.13245) and rotary positions are options. The
plain product form is the only one: TensorFlow has no fused attention on a CPU, and the scores and
probabilities that distillation asks for exist in the plain form only.
"""

# B rows, T tokens, D hidden, H heads of queries, K heads of keys and values
# A = D / H width of a head

import math
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from limbeck.models.basic import Dense, Layer
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.layer_shape import LayerShape
from limbeck.models.rotary import Rotation, rotate
from limbeck.models.shapes import sizes

__all__ = ["AttentionOutput", "SelfAttention", "attention_bias", "causal_bias"]

# Added to the scores of keys that a query must not see. Finite, so that a row of nothing but
# padding has a softmax (an even one); so large that exp() of it is exactly 0 beside any real score.
_NEVER = -1e9


def attention_bias(attention_mask: tf.Tensor) -> tf.Tensor:
    """(B, T) integer, 1 where a token is real -> (B, 1, 1, T) float32 to add to the scores."""
    padded = 1.0 - tf.cast(attention_mask, tf.float32)
    return padded[:, tf.newaxis, tf.newaxis, :] * _NEVER


def causal_bias(num_tokens: tf.Tensor | int) -> tf.Tensor:
    """(T, T) float32 to add to the scores: a query sees itself and what is before it."""
    places = tf.range(num_tokens)
    return tf.where(places[:, tf.newaxis] >= places, 0.0, _NEVER)


@dataclass(frozen=True, kw_only=True)
class AttentionOutput:
    """What one attention block computes on its way; none of it costs anything more."""

    states: tf.Tensor
    """(B, T, D): what leaves the block."""
    inputs: tf.Tensor
    """(B, T, D): what the query, key and value projections multiply."""
    scores: tf.Tensor
    """(B, H, T, T) float32: Q K' / sqrt(A), before masks."""
    probabilities: tf.Tensor
    """(B, H, T, T) float32: after masks and softmax, before dropout."""
    query: tf.Tensor
    """(B, H, T, A), before any rotation."""
    key: tf.Tensor
    """(B, K, T, A), before any rotation."""
    value: tf.Tensor
    """(B, K, T, A)."""


class SelfAttention(Layer):
    """softmax(Q K' / sqrt(A) + bias) V, heads side by side, then the output projection.

    Args:
      shape: of the layer that this block is in.
      layer_id: of the dropout of the attention probabilities.
    """

    def __init__(self, shape: LayerShape, *, layer_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim = shape.hidden_dim
        self.num_heads, self.num_kv_heads = shape.num_heads, shape.num_kv_heads
        self.head_dim = dim // self.num_heads
        kv_dim = self.num_kv_heads * self.head_dim
        self.query, self.key, self.value, self.output_projection = (
            Dense(dim, width, has_bias=shape.has_bias, name=name)
            for name, width in (("query", dim), ("key", kv_dim), ("value", kv_dim), ("output", dim))
        )
        self.dropout = KeyedDropout(shape.attention_dropout, layer_id=layer_id, name="dropout")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build()

    def call(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        *,
        rotation: Rotation | None = None,
        dropout: DropoutKeys | None = None,
    ) -> AttentionOutput:
        """Attends.

        Args:
          x: (B, T, D).
          bias: (B, 1, 1, T) or (B, 1, T, T), see `attention_bias` and `causal_bias`.
          rotation: of queries and keys; None for none.
          dropout: keys of the B rows, or None for none.
        """
        query = self._split(self.query(x), self.num_heads)
        key = self._split(self.key(x), self.num_kv_heads)
        value = self._split(self.value(x), self.num_kv_heads)
        scores = self._scores(query, key, rotation)
        probabilities = tf.nn.softmax(scores + tf.cast(bias, scores.dtype))
        weights = tf.cast(self.dropout(probabilities, keys=dropout), value.dtype)
        context = tf.matmul(weights, self._for_every_query(value))
        context = tf.transpose(context, (0, 2, 1, 3))  # (B, T, H, A)
        return AttentionOutput(
            states=self.output_projection(tf.reshape(context, sizes(x))),
            inputs=x,
            scores=scores,
            probabilities=probabilities,
            query=query,
            key=key,
            value=value,
        )

    def _scores(self, query: tf.Tensor, key: tf.Tensor, rotation: Rotation | None) -> tf.Tensor:
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        products = tf.matmul(query, self._for_every_query(key), transpose_b=True)
        return tf.cast(products, self.variable_dtype) * (1.0 / math.sqrt(self.head_dim))

    def _split(self, x: tf.Tensor, num_heads: int) -> tf.Tensor:
        """(B, T, heads A) -> (B, heads, T, A)."""
        batch, tokens, _ = sizes(x)
        return tf.transpose(tf.reshape(x, [batch, tokens, num_heads, self.head_dim]), (0, 2, 1, 3))

    def _for_every_query(self, x: tf.Tensor) -> tf.Tensor:
        """(B, K, T, A) -> (B, H, T, A)."""
        if self.num_kv_heads == self.num_heads:
            return x
        return tf.repeat(x, self.num_heads // self.num_kv_heads, axis=1)
