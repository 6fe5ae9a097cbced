"""The BERT encoder (Devlin et al., 2019): post-norm transformer layers over summed embeddings."""

# B rows, T tokens, D hidden, L layers

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.bert import BertArchitecture
from limbeck.config.errors import LimbeckError
from limbeck.models.attention import SelfAttention, attention_bias
from limbeck.models.basic import Dense, Norm
from limbeck.models.dropout import DropoutKeys, KeyedDropout
from limbeck.models.embeddings import Embeddings

__all__ = ["BertEncoder", "EncoderLayer", "EncoderOutput"]

_DROPOUTS_PER_LAYER = 3  # attention probabilities, attention output, feed-forward output


@dataclass(frozen=True, kw_only=True)
class EncoderOutput:
    """What an encoder was asked for."""

    last: tf.Tensor
    """(B, T, D): what leaves the last layer."""
    hidden: dict[int, tf.Tensor]
    """Layer -> (B, T, D); 0 is the embeddings, L is transformers' `hidden_states[L]`."""


class FeedForward(keras.layers.Layer):
    """Two dense layers with an activation between them, D -> F -> D."""

    def __init__(self, architecture: BertArchitecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim, inner_dim = architecture.hidden_dim, architecture.intermediate_dim
        self.inner = Dense(dim, inner_dim, activation=architecture.activation, name="inner")
        self.outer = Dense(inner_dim, dim, name="outer")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        self.inner.build()
        self.outer.build()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., D)."""
        return self.outer(self.inner(x))


class EncoderLayer(keras.layers.Layer):
    """Attention and feed-forward block, each as Norm(x + Dropout(block(x))).

    Args:
      architecture: the model's shape.
      index: 0 for the first layer; with it, dropout masks differ between layers.
    """

    def __init__(self, architecture: BertArchitecture, *, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim, epsilon = architecture.hidden_dim, architecture.layer_norm_epsilon
        first_id = 1 + _DROPOUTS_PER_LAYER * index  # 0 is the embeddings'
        self.attention = SelfAttention(architecture, layer_id=first_id, name="attention")
        self.attention_norm = Norm(dim, epsilon=epsilon, name="attention_norm")
        self.feed_forward = FeedForward(architecture, name="feed_forward")
        self.feed_forward_norm = Norm(dim, epsilon=epsilon, name="feed_forward_norm")
        self.attention_dropout, self.feed_forward_dropout = (
            KeyedDropout(architecture.hidden_dropout, layer_id=first_id + 1 + i, name=name)
            for i, name in enumerate(("attention_dropout", "feed_forward_dropout"))
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
        self, x: tf.Tensor, bias: tf.Tensor, *, dropout: DropoutKeys | None = None
    ) -> tf.Tensor:
        """(B, T, D) -> (B, T, D); `bias` as in SelfAttention."""
        attended = self.attention_dropout(self.attention(x, bias, dropout=dropout), keys=dropout)
        x = self.attention_norm(x + attended)
        transformed = self.feed_forward_dropout(self.feed_forward(x), keys=dropout)
        return self.feed_forward_norm(x + transformed)


class BertEncoder(keras.layers.Layer):
    """Embeddings and layers; states of padded positions are finite and mean nothing.

    Args:
      architecture: the model's shape.
    """

    def __init__(self, architecture: BertArchitecture, name: str = "encoder", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.architecture = architecture
        self.embeddings = Embeddings(architecture, layer_id=0, name="embeddings")
        self.encoder_layers = [
            EncoderLayer(architecture, index=index, name=f"layer_{index}")
            for index in range(architecture.num_layers)
        ]

    def __call__(
        self, ids: tf.Tensor, *args: Any, hidden_layers: tuple[int, ...] = (), **kwargs: Any
    ) -> EncoderOutput:
        """Encodes; see `call`.

        Raises:
          LimbeckError: T is more than the model has positions.
          ValueError: a hidden layer that the model does not have.
        """
        # Here and not in `call`, whose errors Keras buries under the values of all arguments.
        num_tokens, limit = ids.shape[1], self.architecture.max_positions
        if num_tokens is not None and num_tokens > limit:
            raise LimbeckError(
                f"the input is {num_tokens} tokens long but the model has {limit} positions; "
                "prepare shorter examples or take a model with more positions"
            )
        for number in hidden_layers:
            if not 0 <= number <= len(self.encoder_layers):
                raise ValueError(
                    f"hidden layer {number} was asked for; this model has 0 (embeddings) to "
                    f"{len(self.encoder_layers)}"
                )
        return super().__call__(ids, *args, hidden_layers=hidden_layers, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables: embeddings first, then layer by layer."""
        self.embeddings.build()
        for layer in self.encoder_layers:
            layer.build()

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
        hidden_layers: tuple[int, ...] = (),
    ) -> EncoderOutput:
        """Encodes.

        Args:
          ids: (B, T) integer.
          segment_ids: (B, T) integer.
          attention_mask: (B, T) integer, 1 where a token is real.
          dropout: keys of the B rows; None for none, as in evaluation.
          hidden_layers: whose states to return beside the last one.
        """
        bias = attention_bias(attention_mask)
        states = self.embeddings(ids, segment_ids, dropout=dropout)
        hidden = {0: states} if 0 in hidden_layers else {}
        for number, layer in enumerate(self.encoder_layers, start=1):
            states = layer(states, bias, dropout=dropout)
            if number in hidden_layers:
                hidden[number] = states
        return EncoderOutput(last=states, hidden=hidden)
