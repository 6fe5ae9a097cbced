"""Heads that read one state a row: the pooler and the sentence classifier of every family."""

# B rows, T tokens, D hidden, C classes

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Dense, activate
from limbeck.models.dropout import DropoutKeys
from limbeck.models.heads.dropped import DroppedDense, HeadDropout

__all__ = ["Pooler", "SentenceClassifier", "reads_pooled"]

# Families whose classifier has a dense layer of its own, and what follows it.
_AFTER_DENSE: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "roberta": tf.tanh,
    "xlm-roberta": tf.tanh,
    "electra": lambda x: activate(x, "gelu"),
    "distilbert": lambda x: activate(x, "relu"),
}


def reads_pooled(architecture: EncoderArchitecture) -> bool:
    """Whether the family's classifier reads the pooler's output; else the first token's state."""
    return architecture.classifies_pooled


class Pooler(Dense):
    """tanh of a dense layer on the first token."""

    def call(self, states: tf.Tensor) -> tf.Tensor:
        """(B, T, D) -> (B, D)."""
        return tf.tanh(super().call(states[:, 0]))


class SentenceClassifier(DroppedDense):
    """Dropout and logits, behind a dense layer and an activation where the family has one.

    RoBERTa and ELECTRA drop before that layer too.

    Args:
      architecture: of the encoder.
      num_labels: C.
      rate: of the dropouts.
    """

    def __init__(
        self, architecture: EncoderArchitecture, *, num_labels: int, rate: float, **kwargs: Any
    ) -> None:
        dim, family = architecture.hidden_dim, architecture.family
        super().__init__(dim, num_labels, rate=rate, **kwargs)
        self.dense = self.first_dropout = None
        if not reads_pooled(architecture):
            self.after_dense = _AFTER_DENSE[family]
            first_rate = 0.0 if family == "distilbert" else rate
            # Not this layer's type, which is float32: the model's.
            self.dense = Dense(dim, dim, name="dense")
            self.first_dropout = HeadDropout(first_rate, number=1, name="first_dropout")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        super().build()
        if self.dense is not None:
            self.dense.build()

    def call(self, state: tf.Tensor, *, dropout: DropoutKeys | None = None) -> tf.Tensor:
        """(B, D) -> logits (B, C), float32."""
        if self.dense is not None and self.first_dropout is not None:
            state = self.after_dense(self.dense(self.first_dropout(state, keys=dropout)))
        return super().call(state, dropout=dropout)
