"""One transformer layer, of encoders and decoders alike."""

# B rows, T tokens, D hidden

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from limbeck.models.attention import AttentionOutput, SelfAttention
from limbeck.models.basic import Layer
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.feed_forward import FeedForward, GatedFeedForward
from limbeck.models.layer_shape import LayerShape
from limbeck.models.rotary import Rotation

__all__ = ["DROPOUTS_PER_LAYER", "LayerOutput", "TransformerLayer"]

DROPOUTS_PER_LAYER = 3
"""Attention probabilities, attention output, feed-forward output."""


@dataclass(frozen=True, kw_only=True)
class LayerOutput:
    """What leaves a layer."""

    states: tf.Tensor
    """(B, T, D)."""
    attention: AttentionOutput
    """Of the layer's attention block."""


class TransformerLayer(Layer):
    """Attention and feed-forward block, each with dropout, a sum and a norm.

    Post-norm: Norm(x + Dropout(block(x))). Pre-norm: x + Dropout(block(Norm(x))).

    Args:
      shape: of the layer.
      index: 0 for the first layer; with it, dropout masks differ between layers.
    """

    def __init__(self, shape: LayerShape, *, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = shape
        first_id = 1 + DROPOUTS_PER_LAYER * index  # 0 is the embeddings'
        self.attention = SelfAttention(shape, layer_id=first_id, name="attention")
        self.attention_norm = shape.make_norm("attention_norm")
        block = GatedFeedForward if shape.gated else FeedForward
        self.feed_forward = block(shape, name="feed_forward")
        self.feed_forward_norm = shape.make_norm("feed_forward_norm")
        self.attention_dropout = KeyedDropout(
            shape.attention_output_dropout, layer_id=first_id + 1, name="attention_dropout"
        )
        self.feed_forward_dropout = KeyedDropout(
            shape.feed_forward_dropout, layer_id=first_id + 2, name="feed_forward_dropout"
        )

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        for layer in (
            self.attention,
            self.attention_norm,
            self.feed_forward,
            self.feed_forward_norm,
        ):
            layer.build()

    def call(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        *,
        rotation: Rotation | None = None,
        dropout: DropoutKeys | None = None,
    ) -> LayerOutput:
        """(B, T, D) -> (B, T, D); the other arguments as in SelfAttention."""
        pre = self.shape.norm_position == "pre"
        attention = self.attention(
            self.attention_norm(x) if pre else x, bias, rotation=rotation, dropout=dropout
        )
        x = x + self.attention_dropout(attention.states, keys=dropout)
        x = x if pre else self.attention_norm(x)
        transformed = self.feed_forward(self.feed_forward_norm(x) if pre else x)
        x = x + self.feed_forward_dropout(transformed, keys=dropout)
        x = x if pre else self.feed_forward_norm(x)
        return LayerOutput(states=x, attention=attention)
