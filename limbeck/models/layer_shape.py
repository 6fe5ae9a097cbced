"""What one transformer layer needs to know, read from an encoder's or a decoder's architecture."""

from dataclasses import dataclass
from typing import Literal

from limbeck.architectures.checks import Activation
from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.basic import Norm, RMSNorm

__all__ = ["LayerShape", "decoder_layer_shape", "encoder_layer_shape"]

# Families that lack a dropout which BERT has.
_NO_ATTENTION_OUTPUT_DROPOUT = ("distilbert",)
_NO_FEED_FORWARD_DROPOUT = ("albert",)


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One layer: attention and a feed-forward block, each with a norm and a sum."""

    hidden_dim: int
    """D: width of the states."""
    num_heads: int
    """H: heads of the queries."""
    num_kv_heads: int
    """K: heads of keys and values; each serves H / K heads of the queries."""
    intermediate_dim: int
    """F: width inside the feed-forward block."""
    activation: Activation
    """Inside the feed-forward block."""
    gated: bool
    """Whether the feed-forward block is down(activation(gate(x)) * up(x))."""
    has_bias: bool
    """Whether projections have biases."""
    norm: Literal["layer", "rms"]
    """Kind of the norms."""
    norm_epsilon: float
    """Added to the variance or the mean square."""
    norm_position: Literal["post", "pre"]
    """Norm(x + block(x)), or x + block(Norm(x))."""
    attention_dropout: float
    """Rate for the attention probabilities."""
    attention_output_dropout: float
    """Rate for what leaves the attention block."""
    feed_forward_dropout: float
    """Rate for what leaves the feed-forward block."""

    def make_norm(self, name: str) -> Norm | RMSNorm:
        """A norm of this kind over the states."""
        kind = Norm if self.norm == "layer" else RMSNorm
        return kind(self.hidden_dim, epsilon=self.norm_epsilon, name=name)


def encoder_layer_shape(architecture: EncoderArchitecture) -> LayerShape:
    """The shape of an encoder's layers."""
    family, rate = architecture.family, architecture.hidden_dropout
    return LayerShape(
        hidden_dim=architecture.hidden_dim,
        num_heads=architecture.num_heads,
        num_kv_heads=architecture.num_heads,
        intermediate_dim=architecture.intermediate_dim,
        activation=architecture.activation,
        gated=False,
        has_bias=True,
        norm="layer",
        norm_epsilon=architecture.layer_norm_epsilon,
        norm_position=architecture.norm_position,
        attention_dropout=architecture.attention_dropout,
        attention_output_dropout=0.0 if family in _NO_ATTENTION_OUTPUT_DROPOUT else rate,
        feed_forward_dropout=0.0 if family in _NO_FEED_FORWARD_DROPOUT else rate,
    )


def decoder_layer_shape(architecture: DecoderArchitecture) -> LayerShape:
    """The shape of a decoder's layers."""
    return LayerShape(
        hidden_dim=architecture.hidden_dim,
        num_heads=architecture.num_heads,
        num_kv_heads=architecture.num_kv_heads,
        intermediate_dim=architecture.intermediate_dim,
        activation=architecture.activation,
        gated=architecture.gated,
        has_bias=architecture.has_bias,
        norm=architecture.norm,
        norm_epsilon=architecture.norm_epsilon,
        norm_position="pre",
        attention_dropout=architecture.attention_dropout,
        attention_output_dropout=architecture.hidden_dropout,
        feed_forward_dropout=architecture.hidden_dropout,
    )
