"""Models with a decoder: alone, and with the projection onto its vocabulary."""

# B rows, T tokens, P positions, D hidden, V vocabulary

from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.models.basic import Layer
from limbeck.models.decoder import Decoder
from limbeck.models.dropout import DropoutKeys
from limbeck.models.heads.vocabulary import project, states_at
from limbeck.models.output import EncoderOutput

__all__ = ["CausalLM", "DecoderModel", "DecoderOnly"]


class VocabularyMatrix(Layer):
    """The matrix of a decoder that is not tied."""

    def __init__(self, dim: int, vocab_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.matrix_shape = (dim, vocab_size)

    def build(self, input_shape: Any = None) -> None:
        """Makes the variable."""
        self.kernel = self.add_weight(shape=self.matrix_shape, name="kernel", initializer="zeros")


class DecoderModel(keras.Model):
    """A decoder; models with heads add theirs.

    Args:
      decoder: built with this model if it is not yet.
    """

    def __init__(self, decoder: Decoder, *, name: str = "decoder_model", **kwargs: Any) -> None:
        super().__init__(name=name, autocast=False, **kwargs)
        self.decoder = decoder

    @property
    def architecture(self) -> DecoderArchitecture:
        """The model's shape."""
        return self.decoder.architecture

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        if not self.decoder.built:
            self.decoder.build()

    def encode(
        self, ids: tf.Tensor, segment_ids: tf.Tensor, attention_mask: tf.Tensor, **asked: Any
    ) -> EncoderOutput:
        """The decoder's output; keyword arguments as in Decoder. There is no pooled output."""
        return self.decoder(ids, segment_ids, attention_mask, **asked)


class DecoderOnly(DecoderModel):
    """A decoder without a head."""

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """The states; arguments as in Decoder."""
        return self.encode(ids, segment_ids, attention_mask, dropout=dropout)


class CausalLM(DecoderModel):
    """Decoder and vocabulary projection, which runs at given positions only.

    The logits at a position are those of the token after it.

    Args:
      decoder: as in DecoderModel.
      vocab_multiple: as in MaskedLM.
    """

    def __init__(self, decoder: Decoder, *, vocab_multiple: int = 1, **kwargs: Any) -> None:
        super().__init__(decoder, name="causal_lm", **kwargs)
        shape = decoder.architecture
        self.head = None
        if not shape.tied:
            self.head = VocabularyMatrix(shape.hidden_dim, shape.vocab_size, name="head")
        self.vocab_multiple = vocab_multiple

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables: decoder, head."""
        super().build()
        if self.head is not None:
            self.head.build()

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        positions: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """Logits (B, P, V) at positions (B, P); the other arguments as in `encode`."""
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout)
        return self.logits_at(encoded.last, positions)

    def logits_at(self, states: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """(B, T, D) states, (B, P) integer positions -> (B, P, V)."""
        return self.logits(states_at(states, positions))

    def logits(self, states: tf.Tensor) -> tf.Tensor:
        """(..., D) states -> (..., V) vocabulary logits, float32."""
        tied = self.head is None
        matrix = self.decoder.embeddings.token if self.head is None else self.head.kernel
        return project(states, matrix, None, transposed=tied, multiple=self.vocab_multiple)
