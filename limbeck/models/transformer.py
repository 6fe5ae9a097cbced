"""What encoders and decoders share: embeddings, layers, and answers to what was asked for."""

# B rows, T tokens, D hidden, L layers

from typing import Any

import tensorflow as tf

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import LimbeckError
from limbeck.models.attention import AttentionOutput
from limbeck.models.basic import Layer
from limbeck.models.dropout import DropoutKeys
from limbeck.models.layer import DROPOUTS_PER_LAYER, LayerOutput, TransformerLayer
from limbeck.models.layer_shape import LayerShape
from limbeck.models.output import EncoderOutput, Request
from limbeck.models.rotary import Rotation

__all__ = ["Transformer"]


class Transformer(Layer):
    """Embeddings and layers; states of padded positions are finite and mean nothing.

    Subclasses set `embeddings` and say what a query may see and how positions turn it.

    Args:
      architecture: the model's shape.
      shape: of its layers.
      embeddings: the layer that makes states from ids and segment ids.
      num_stored_layers: layers with weights of their own: all, or one that is applied L times.
    """

    def __init__(
        self,
        architecture: EncoderArchitecture | DecoderArchitecture,
        *,
        shape: LayerShape,
        embeddings: Layer,
        num_stored_layers: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_layers = architecture.num_layers
        self.max_positions = architecture.max_positions
        self.embeddings = embeddings
        self.stored_layers = [
            TransformerLayer(shape, index=index, name=f"layer_{index}")
            for index in range(num_stored_layers)
        ]
        self.final_norm = shape.make_norm("final_norm") if shape.norm_position == "pre" else None

    def __call__(
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
    ) -> EncoderOutput:
        """Runs the model.

        Args:
          ids: (B, T) integer.
          segment_ids: (B, T) integer; a model without segments does not look at them.
          attention_mask: (B, T) integer, 1 where a token is real.
          dropout: keys of the B rows; None for none, as in evaluation.
          hidden_layers: whose states to return beside the last one; 0 is the embeddings.
          attention_layers: whose attention probabilities to return; 1 is the first.
          score_layers: whose raw attention scores to return.
          qkv_layers: whose queries, keys and values to return.
          input_layers: whose inputs of the query, key and value projections to return.

        Raises:
          LimbeckError: T is more than the model has positions.
          ValueError: a layer that the model does not have.
        """
        # Here and not in `call`, whose errors Keras buries under the values of all arguments.
        num_tokens, limit = ids.shape[1], self.max_positions
        if num_tokens is not None and num_tokens > limit:
            raise LimbeckError(
                f"the input is {num_tokens} tokens long but the model has {limit} positions; "
                "prepare shorter examples or take a model with more positions"
            )
        request = Request(
            hidden_layers=tuple(hidden_layers),
            attention_layers=tuple(attention_layers),
            score_layers=tuple(score_layers),
            qkv_layers=tuple(qkv_layers),
            input_layers=tuple(input_layers),
        )
        request.check(self.num_layers)
        return super().__call__(ids, segment_ids, attention_mask, dropout=dropout, request=request)

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables: embeddings first, then layer by layer."""
        self.embeddings.build()
        for layer in self.stored_layers:
            layer.build()
        if self.final_norm is not None:
            self.final_norm.build()

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
        request: Request | None = None,
    ) -> EncoderOutput:
        """See `__call__`."""
        request = request or Request()
        bias, rotation = self._bias(attention_mask), self._rotation(ids)
        states = self.embeddings(ids, segment_ids, dropout=dropout)
        hidden = {0: states} if 0 in request.hidden_layers else {}
        attention: dict[int, AttentionOutput] = {}
        for number in range(1, self.num_layers + 1):
            done = self._apply(number, states, bias, rotation=rotation, dropout=dropout)
            states = done.states
            if number == self.num_layers:
                states = self._normed(states)
            if number in request.hidden_layers:
                hidden[number] = states
            if number in request.inside_layers:
                attention[number] = done.attention
        last = states if self.num_layers else self._normed(states)
        return request.answer(last=last, hidden=hidden, attention=attention)

    def _normed(self, states: tf.Tensor) -> tf.Tensor:
        return states if self.final_norm is None else self.final_norm(states)

    def _bias(self, attention_mask: tf.Tensor) -> tf.Tensor:
        """What to add to the scores."""
        raise NotImplementedError

    def _rotation(self, ids: tf.Tensor) -> Rotation | None:
        """How positions turn queries and keys."""
        return None

    def _apply(
        self,
        number: int,
        states: tf.Tensor,
        bias: tf.Tensor,
        *,
        rotation: Rotation | None,
        dropout: DropoutKeys | None,
    ) -> LayerOutput:
        index = number - 1
        stored = min(index, len(self.stored_layers) - 1)
        if dropout is not None and stored != index:  # a shared layer, in its later applications
            dropout = dropout.shifted(DROPOUTS_PER_LAYER * (index - stored))
        return self.stored_layers[stored](states, bias, rotation=rotation, dropout=dropout)
