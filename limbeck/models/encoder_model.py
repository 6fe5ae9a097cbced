"""What all models with an encoder share, and the encoder without a head."""

# B rows, T tokens, D hidden

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Layer
from limbeck.models.dropout import DropoutKeys
from limbeck.models.encoder import Encoder
from limbeck.models.heads.sentence import Pooler
from limbeck.models.output import EncoderOutput

__all__ = ["EncoderModel", "EncoderOnly"]


class EncoderModel(keras.Model):
    """An encoder and perhaps its pooler; models with heads add theirs.

    Args:
      encoder: built with this model if it is not yet.
      pooler: whether there is one.
    """

    def __init__(
        self, encoder: Encoder, *, pooler: bool = False, name: str = "encoder_model", **kwargs: Any
    ) -> None:
        super().__init__(name=name, autocast=False, **kwargs)
        self.encoder = encoder
        dim = encoder.architecture.hidden_dim
        self.pooler = Pooler(dim, dim, name="pooler") if pooler else None

    @property
    def architecture(self) -> EncoderArchitecture:
        """The model's shape."""
        return self.encoder.architecture

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables: encoder, pooler, heads."""
        for layer in (self.encoder, self.pooler, *self.heads()):
            if layer is not None and not layer.built:
                layer.build()

    def heads(self) -> tuple[Layer, ...]:
        """The heads, in the order of their variables."""
        return ()

    def encode(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
        hidden_layers: tuple[int, ...] = (),
        attention_layers: tuple[int, ...] = (),
        score_layers: tuple[int, ...] = (),
        qkv_layers: tuple[int, ...] = (),
        input_layers: tuple[int, ...] = (),
        pooled: bool = False,
    ) -> EncoderOutput:
        """The encoder and, where asked for, the pooler; see Encoder.

        Raises:
          ValueError: `pooled`, in a model without a pooler.
        """
        if pooled and self.pooler is None:
            raise ValueError(f"pooled output was asked for, but {self.name} has no pooler")
        encoded = self.encoder(
            ids,
            segment_ids,
            attention_mask,
            dropout=dropout,
            hidden_layers=hidden_layers,
            attention_layers=attention_layers,
            score_layers=score_layers,
            qkv_layers=qkv_layers,
            input_layers=input_layers,
        )
        if not pooled or self.pooler is None:
            return encoded
        return dataclasses.replace(encoded, pooled=self.pooler(encoded.last))


class EncoderOnly(EncoderModel):
    """An encoder without a head, and with its pooler where it has one."""

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """The states, and pooled output where there is a pooler; arguments as in `encode`."""
        return self.encode(
            ids, segment_ids, attention_mask, dropout=dropout, pooled=self.pooler is not None
        )
