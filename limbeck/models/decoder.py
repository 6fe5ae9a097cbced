"""Causal decoders: GPT-2 and Llama's shape, see `limbeck.architectures.decoder`."""

# B rows, T tokens, D hidden, P positions, V vocabulary

from typing import Any

import tensorflow as tf

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.models.attention import attention_bias, causal_bias
from limbeck.models.embeddings import DecoderEmbeddings
from limbeck.models.layer_shape import decoder_layer_shape
from limbeck.models.rotary import Rotation, rotary
from limbeck.models.shapes import sizes
from limbeck.models.transformer import Transformer

__all__ = ["Decoder"]


class Decoder(Transformer):
    """Every token sees itself and the real tokens before it; rows are padded at their end.

    Args:
      architecture: the model's shape.
    """

    def __init__(self, architecture: DecoderArchitecture, name: str = "decoder", **kwargs: Any):
        super().__init__(
            architecture,
            shape=decoder_layer_shape(architecture),
            embeddings=DecoderEmbeddings(architecture, layer_id=0, name="embeddings"),
            num_stored_layers=architecture.num_layers,
            name=name,
            **kwargs,
        )
        self.architecture = architecture

    def _bias(self, attention_mask: tf.Tensor) -> tf.Tensor:
        return attention_bias(attention_mask) + causal_bias(sizes(attention_mask)[1])

    def _rotation(self, ids: tf.Tensor) -> Rotation | None:
        shape = self.architecture
        if shape.positions != "rotary":
            return None
        return rotary(sizes(ids)[1], shape.head_dim, theta=shape.rope_theta)
