"""What turns token ids into the first states."""

# B rows, T tokens, D hidden, E embedding width, V vocabulary

from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Dense, Layer, Norm
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.shapes import sizes

__all__ = ["DecoderEmbeddings", "Embeddings", "positions_of_real_tokens"]


def positions_of_real_tokens(ids: tf.Tensor, *, pad_id: int) -> tf.Tensor:
    """Rows of RoBERTa's position table, (B, T) -> (B, T) int32.

    The n-th token (from 1) that is not `pad_id` takes row pad_id + n; every `pad_id` takes row
    pad_id. It is the ids that decide, not the attention mask.
    """
    real = tf.cast(tf.not_equal(ids, tf.cast(pad_id, ids.dtype)), tf.int32)
    return tf.cumsum(real, axis=1) * real + pad_id


class Embeddings(Layer):
    """An encoder's: the sum of token, position and segment, then norm, dropout and projection.

    A pre-norm encoder has no norm here; only factorised embeddings have a projection.

    Args:
      architecture: the model's shape.
      layer_id: of the dropout.
    """

    def __init__(self, architecture: EncoderArchitecture, *, layer_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        width, dim = architecture.embedding_width, architecture.hidden_dim
        self.norm = self.projection = None
        if architecture.norm_position == "post":
            self.norm = Norm(width, epsilon=architecture.layer_norm_epsilon, name="norm")
        if architecture.embedding_dim is not None:
            self.projection = Dense(width, dim, name="projection")
        self.dropout = KeyedDropout(architecture.hidden_dropout, layer_id=layer_id, name="dropout")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        shape = self.architecture
        self.token = self._table("token", shape.vocab_size)
        self.position = self._table("position", shape.max_positions + shape.position_offset)
        self.segment = None
        if shape.type_vocab_size:
            self.segment = self._table("segment", shape.type_vocab_size)
        for layer in (self.norm, self.projection):
            if layer is not None:
                layer.build()

    def call(
        self, ids: tf.Tensor, segment_ids: tf.Tensor, *, dropout: DropoutKeys | None = None
    ) -> tf.Tensor:
        """Embeds.

        Args:
          ids: (B, T) integer; T is at most the model's positions.
          segment_ids: (B, T) integer; without a part in a model of one segment or none.
          dropout: keys of the B rows, or None for none.

        Returns:
          (B, T, D), in the compute type.
        """
        embedded = tf.gather(tf.convert_to_tensor(self.token), ids)
        embedded += self._positions(ids)
        if self.segment is not None:
            embedded += self._segments(segment_ids, self.segment)
        if self.norm is not None:
            embedded = self.norm(embedded)
        embedded = self.dropout(tf.cast(embedded, self.compute_dtype), keys=dropout)
        return embedded if self.projection is None else self.projection(embedded)

    def _table(self, name: str, num_rows: int) -> keras.Variable:
        shape = (num_rows, self.architecture.embedding_width)
        return self.add_weight(shape=shape, name=name, initializer="zeros")

    def _positions(self, ids: tf.Tensor) -> tf.Tensor:
        if self.architecture.position_offset == 0:
            return self.position[: sizes(ids)[1]]
        rows = positions_of_real_tokens(ids, pad_id=self.architecture.pad_id)
        return tf.gather(tf.convert_to_tensor(self.position), rows)

    def _segments(self, segment_ids: tf.Tensor, table: keras.Variable) -> tf.Tensor:
        if self.architecture.type_vocab_size == 1:
            return table[0]
        # A product instead of a gather: the gradient of a gather from two rows would add up all
        # tokens one after another.
        one_hot = tf.one_hot(
            segment_ids, self.architecture.type_vocab_size, dtype=self.variable_dtype
        )
        return tf.tensordot(one_hot, tf.convert_to_tensor(table), 1)


class DecoderEmbeddings(Layer):
    """A decoder's: the token's, plus the position's where positions are learned, then dropout.

    Args:
      architecture: the model's shape.
      layer_id: of the dropout.
    """

    def __init__(self, architecture: DecoderArchitecture, *, layer_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.architecture = architecture
        self.dropout = KeyedDropout(architecture.hidden_dropout, layer_id=layer_id, name="dropout")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        shape = self.architecture
        self.token = self.add_weight(
            shape=(shape.vocab_size, shape.hidden_dim), name="token", initializer="zeros"
        )
        self.position = None
        if shape.positions == "learned":
            self.position = self.add_weight(
                shape=(shape.max_positions, shape.hidden_dim), name="position", initializer="zeros"
            )

    def call(
        self, ids: tf.Tensor, segment_ids: tf.Tensor, *, dropout: DropoutKeys | None = None
    ) -> tf.Tensor:
        """(B, T) -> (B, T, D); `segment_ids` has no part."""
        embedded = tf.gather(tf.convert_to_tensor(self.token), ids)
        if self.position is not None:
            embedded += self.position[: sizes(ids)[1]]
        return self.dropout(tf.cast(embedded, self.compute_dtype), keys=dropout)
