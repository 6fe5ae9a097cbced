"""A masked language model: an encoder and the head that reads its vocabulary off a state.

Names and order of the variables: `limbeck.models.names`; here the encoder's, then the head's.
"""

# B rows, T tokens, P positions, D hidden, V vocabulary

from typing import Any

import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Layer
from limbeck.models.dropout import DropoutKeys
from limbeck.models.encoder import Encoder
from limbeck.models.encoder_model import EncoderModel
from limbeck.models.heads.vocabulary import MaskedLMHead, project, states_at
from limbeck.models.initialisation import initialise
from limbeck.models.names import named_variables

__all__ = ["MaskedLM", "build_masked_lm", "empty_masked_lm", "named_variables"]


class MaskedLM(EncoderModel):
    """Encoder, head and decoder; the vocabulary projection runs at given positions only.

    Args:
      encoder: built with this model if it is not yet.
      vocab_multiple: the decoder's columns are filled up to a multiple of it for the product,
        see `project`; the logits are the same.
      pooler: whether there is one.
    """

    def __init__(
        self,
        encoder: Encoder,
        name: str = "masked_lm",
        *,
        vocab_multiple: int = 1,
        pooler: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, pooler=pooler, name=name, **kwargs)
        self.head = MaskedLMHead(encoder.architecture, name="head")
        self.vocab_multiple = vocab_multiple

    def heads(self) -> tuple[Layer, ...]:
        """The head."""
        return (self.head,)

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
        """Vocabulary logits at chosen positions.

        Args:
          states: (B, T, D), what leaves the encoder.
          positions: (B, P) integer, below T.

        Returns:
          (B, P, V).
        """
        return self.logits(states_at(states, positions))

    def logits(self, states: tf.Tensor) -> tf.Tensor:
        """(..., D) encoder states -> (..., V) vocabulary logits, float32."""
        return project(
            self.head(states),
            self.encoder.embeddings.token,
            self.head.output_bias,
            transposed=True,
            multiple=self.vocab_multiple,
        )


def build_masked_lm(architecture: EncoderArchitecture, *, seed: int) -> MaskedLM:
    """Makes a masked LM with freshly drawn weights; see `limbeck.models.build.build`."""
    model = empty_masked_lm(architecture)
    initialise(named_variables(model), seed=seed, deviation=architecture.initializer_range)
    return model


def empty_masked_lm(architecture: EncoderArchitecture) -> MaskedLM:
    """Makes a masked LM whose weights are still to be assigned."""
    model = MaskedLM(Encoder(architecture))
    model.build()
    return model
