"""Encoders: BERT (Devlin et al., 2019) and its relatives, see `limbeck.architectures.encoder`."""

# B rows, T tokens

from typing import Any

import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.attention import attention_bias
from limbeck.models.embeddings import Embeddings
from limbeck.models.layer_shape import encoder_layer_shape
from limbeck.models.output import EncoderOutput
from limbeck.models.transformer import Transformer

__all__ = ["Encoder", "EncoderOutput"]


class Encoder(Transformer):
    """Every token sees every real token of its row.

    Args:
      architecture: the model's shape.
    """

    def __init__(self, architecture: EncoderArchitecture, name: str = "encoder", **kwargs: Any):
        super().__init__(
            architecture,
            shape=encoder_layer_shape(architecture),
            embeddings=Embeddings(architecture, layer_id=0, name="embeddings"),
            num_stored_layers=architecture.num_stored_layers,
            name=name,
            **kwargs,
        )
        self.architecture = architecture

    def _bias(self, attention_mask: tf.Tensor) -> tf.Tensor:
        return attention_bias(attention_mask)
