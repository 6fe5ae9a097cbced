"""What can be asked of a transformer beside its last states."""

# B rows, T tokens, D hidden, H heads, K heads of keys and values, A width of a head, L layers

from collections.abc import Mapping
from dataclasses import dataclass, field

import tensorflow as tf

from limbeck.models.attention import AttentionOutput

__all__ = ["EncoderOutput", "Request"]

QKV = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True, kw_only=True)
class EncoderOutput:
    """What an encoder or a decoder was asked for. What was not asked for is not there."""

    last: tf.Tensor
    """(B, T, D): what leaves the last layer (and the final norm, where there is one)."""
    hidden: dict[int, tf.Tensor] = field(default_factory=dict)
    """Layer -> (B, T, D); 0 is the embeddings, L is transformers' `hidden_states[L]`: the last
    one is behind the final norm where there is one."""
    attentions: dict[int, tf.Tensor] = field(default_factory=dict)
    """Layer -> (B, H, T, T) float32 attention probabilities, before dropout."""
    scores: dict[int, tf.Tensor] = field(default_factory=dict)
    """Layer -> (B, H, T, T) float32 scaled scores, before masks and softmax."""
    qkv: dict[int, QKV] = field(default_factory=dict)
    """Layer -> queries (B, H, T, A), keys and values (B, K, T, A), before any rotation."""
    inputs: dict[int, tf.Tensor] = field(default_factory=dict)
    """Layer -> (B, T, D): what its query, key and value projections multiply. Post-norm, what
    leaves the layer before; pre-norm, that behind this layer's first norm."""
    pooled: tf.Tensor | None = None
    """(B, D): tanh of a dense layer on the first token, where it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Layers by number, from 1; 0 is the embeddings and has a hidden state only."""

    hidden_layers: tuple[int, ...] = ()
    """Whose states to return."""
    attention_layers: tuple[int, ...] = ()
    """Whose attention probabilities to return."""
    score_layers: tuple[int, ...] = ()
    """Whose raw attention scores to return."""
    qkv_layers: tuple[int, ...] = ()
    """Whose queries, keys and values to return."""
    input_layers: tuple[int, ...] = ()
    """Whose inputs of these projections to return."""

    def check(self, num_layers: int) -> None:
        """Raises ValueError for a layer that a model of `num_layers` does not have."""
        for kind, numbers, least in (
            ("hidden", self.hidden_layers, 0),
            ("attention", self.attention_layers, 1),
            ("score", self.score_layers, 1),
            ("qkv", self.qkv_layers, 1),
            ("input", self.input_layers, 1),
        ):
            for number in numbers:
                if not least <= number <= num_layers:
                    first = "0 (embeddings)" if least == 0 else "1"
                    raise ValueError(
                        f"{kind} layer {number} was asked for; this model has {first} to "
                        f"{num_layers}"
                    )

    @property
    def inside_layers(self) -> tuple[int, ...]:
        """Layers of whose attention block something is wanted."""
        return (
            *self.attention_layers,
            *self.score_layers,
            *self.qkv_layers,
            *self.input_layers,
        )

    def answer(
        self,
        *,
        last: tf.Tensor,
        hidden: dict[int, tf.Tensor],
        attention: Mapping[int, AttentionOutput],
    ) -> EncoderOutput:
        """Picks what was asked for from the attention blocks of `inside_layers`."""
        return EncoderOutput(
            last=last,
            hidden=hidden,
            attentions={n: attention[n].probabilities for n in self.attention_layers},
            scores={n: attention[n].scores for n in self.score_layers},
            qkv={
                n: (attention[n].query, attention[n].key, attention[n].value)
                for n in self.qkv_layers
            },
            inputs={n: attention[n].inputs for n in self.input_layers},
        )
