"""A masked language model: a BERT encoder and the head that reads its vocabulary off a state.

Names and order of the variables (`named_variables`), for layer i from 0:

    encoder/embeddings/{token,position,segment}, encoder/embeddings/norm/{gamma,beta}
    encoder/layer_i/attention/{query,key,value,output}/{kernel,bias}
    encoder/layer_i/attention_norm/{gamma,beta}
    encoder/layer_i/feed_forward/{inner,outer}/{kernel,bias}
    encoder/layer_i/feed_forward_norm/{gamma,beta}
    head/output_bias, head/transform/{kernel,bias}, head/norm/{gamma,beta}

Kernels are (input, output). The decoder matrix is `encoder/embeddings/token`, transposed.
"""

# B rows, T tokens, P positions, N states, D hidden, V vocabulary

import math
from typing import Any

import keras
import tensorflow as tf

from limbeck.architectures.bert import BertArchitecture
from limbeck.models.basic import Dense, Norm
from limbeck.models.bert import BertEncoder, EncoderOutput
from limbeck.models.dropout import DropoutKeys
from limbeck.models.initialisation import initialise
from limbeck.models.shapes import sizes

__all__ = ["MaskedLM", "build_masked_lm", "empty_masked_lm", "named_variables"]


class Head(keras.layers.Layer):
    """Dense, activation and norm, before the tied decoder; owns the decoder's bias."""

    def __init__(self, architecture: BertArchitecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dim = architecture.hidden_dim
        self.vocab_size = architecture.vocab_size
        self.transform = Dense(dim, dim, activation=architecture.activation, name="transform")
        self.norm = Norm(dim, epsilon=architecture.layer_norm_epsilon, name="norm")

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        self.output_bias = self.add_weight(
            shape=(self.vocab_size,), name="output_bias", initializer="zeros"
        )
        self.transform.build()
        self.norm.build()

    def call(self, states: tf.Tensor) -> tf.Tensor:
        """(..., D) -> (..., D): what the decoder multiplies."""
        return self.norm(self.transform(states))


class MaskedLM(keras.Model):
    """Encoder, head and decoder; the vocabulary projection runs at given positions only.

    Args:
      encoder: a BertEncoder; built with this model if it is not yet.
    """

    def __init__(self, encoder: BertEncoder, name: str = "masked_lm", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.encoder = encoder
        self.head = Head(encoder.architecture, name="head")

    @property
    def architecture(self) -> BertArchitecture:
        """The model's shape."""
        return self.encoder.architecture

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables in the order that the module names."""
        if not self.encoder.built:
            self.encoder.build()
        self.head.build()

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        positions: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> tf.Tensor:
        """Logits (B, P, V) at positions (B, P); the other arguments as in `encode`."""
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout)
        return self.logits_at(encoded.last, positions)

    def encode(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
        hidden_layers: tuple[int, ...] = (),
    ) -> EncoderOutput:
        """The encoder alone; see BertEncoder."""
        return self.encoder(
            ids, segment_ids, attention_mask, dropout=dropout, hidden_layers=hidden_layers
        )

    def logits_at(self, states: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """Vocabulary logits at chosen positions.

        Args:
          states: (B, T, D), what leaves the encoder.
          positions: (B, P) integer, below T.

        Returns:
          (B, P, V).
        """
        batch, num_tokens, dim = sizes(states)
        first = tf.range(batch, dtype=positions.dtype) * tf.cast(num_tokens, positions.dtype)
        flat = tf.reshape(states, [batch * num_tokens, dim])
        return self.logits(tf.gather(flat, positions + first[:, tf.newaxis]))

    def logits(self, states: tf.Tensor) -> tf.Tensor:
        """(..., D) encoder states -> (..., V) vocabulary logits."""
        *batch, dim = sizes(states)
        rows = tf.reshape(self.head(states), [math.prod(batch), dim])
        logits = tf.matmul(rows, self.encoder.embeddings.token, transpose_b=True)
        logits = tf.nn.bias_add(logits, self.head.output_bias)
        return tf.reshape(logits, [*batch, self.architecture.vocab_size])


def build_masked_lm(architecture: BertArchitecture, *, seed: int) -> MaskedLM:
    """Makes a masked LM with freshly drawn weights.

    Matrices are drawn from a normal distribution of standard deviation `initializer_range`, cut at
    two deviations, each from (seed, its name); norms start at 1 and 0, biases at 0. Neither global
    seeds nor what the process did before have a part, so every rank gets the same weights.
    """
    model = empty_masked_lm(architecture)
    initialise(named_variables(model), seed=seed, deviation=architecture.initializer_range)
    return model


def empty_masked_lm(architecture: BertArchitecture) -> MaskedLM:
    """Makes a masked LM whose weights are still to be assigned."""
    model = MaskedLM(BertEncoder(architecture))
    model.build()
    return model


def named_variables(model: MaskedLM) -> dict[str, keras.Variable]:
    """Every variable by its stable name, in the order that the module names."""
    named = {variable.path.split("/", 1)[1]: variable for variable in model.trainable_variables}
    assert len(named) == len(model.variables)  # names are distinct, nothing else is there
    return named
