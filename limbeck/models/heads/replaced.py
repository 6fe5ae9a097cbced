"""ELECTRA's discriminator."""

# B rows, T tokens, D hidden

from typing import Any

import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Dense, Layer
from limbeck.models.heads.dropped import DroppedDense

__all__ = ["ReplacedToken"]


class ReplacedToken(Layer):
    """Whether a token is another than in the text (Clark et al., 2020, section 3.1).

    Args:
      architecture: of the encoder.
    """

    def __init__(self, architecture: EncoderArchitecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim = architecture.hidden_dim
        self.dense = Dense(dim, dim, activation=architecture.activation, name="dense")
        self.logit = DroppedDense(dim, 1, name="output")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        self.dense.build()
        self.logit.build()

    def call(self, states: tf.Tensor) -> tf.Tensor:
        """(B, T, D) -> logits (B, T), float32, of "replaced"."""
        return self.logit(self.dense(states))[..., 0]
