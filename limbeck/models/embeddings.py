"""Token, position and segment embeddings of BERT."""

# B rows, T tokens, D hidden, V vocabulary

from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.bert import BertArchitecture
from limbeck.models.basic import Norm
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.shapes import sizes

__all__ = ["Embeddings"]


class Embeddings(keras.layers.Layer):
    """Norm of the sum of three embeddings, then dropout.

    Args:
      architecture: the model's shape.
      layer_id: of the dropout.
    """

    def __init__(self, architecture: BertArchitecture, *, layer_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        self.norm = Norm(
            architecture.hidden_dim, epsilon=architecture.layer_norm_epsilon, name="norm"
        )
        self.dropout = KeyedDropout(architecture.hidden_dropout, layer_id=layer_id, name="dropout")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        shape, dim = self.architecture, self.architecture.hidden_dim
        self.token = self.add_weight(
            shape=(shape.vocab_size, dim), name="token", initializer="zeros"
        )
        self.position = self.add_weight(
            shape=(shape.max_positions, dim), name="position", initializer="zeros"
        )
        self.segment = self.add_weight(
            shape=(shape.type_vocab_size, dim), name="segment", initializer="zeros"
        )
        self.norm.build()

    def call(
        self, ids: tf.Tensor, segment_ids: tf.Tensor, *, dropout: DropoutKeys | None = None
    ) -> tf.Tensor:
        """Embeds.

        Args:
          ids: (B, T) integer; T is at most the model's positions.
          segment_ids: (B, T) integer.
          dropout: keys of the B rows, or None for none.

        Returns:
          (B, T, D).
        """
        # A product instead of a gather: the gradient of a gather from two rows would add up all
        # tokens one after another.
        one_hot = tf.one_hot(segment_ids, self.architecture.type_vocab_size, dtype=tf.float32)
        embedded = tf.gather(tf.convert_to_tensor(self.token), ids)
        embedded += self.position[: sizes(ids)[1]]
        embedded += tf.tensordot(one_hot, tf.convert_to_tensor(self.segment), 1)
        return self.dropout(self.norm(embedded), keys=dropout)
