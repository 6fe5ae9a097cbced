"""Shapes of causal transformer decoders: GPT-2, and the plain modern decoder of Llama's shape.

gpt2   Radford et al., 2019: norms before the blocks, learned positions, tied decoder
llama  Touvron et al., 2023 (arXiv 2302.13971): RMS norms, rotary positions (Su et al., 2021, arXiv
       2104.09864), grouped-query attention (Ainslie et al., 2023, arXiv 2305.13245), SwiGLU
"""

# N tokens (padding included), T padded length, D hidden, F intermediate, V vocabulary
# H query heads, K key/value heads, A = D / H width of a head, L layers

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from limbeck.architectures.checks import (
    Activation,
    check_activation,
    check_at_least,
    check_multiple,
    check_positive,
    check_rate,
    field_differences,
)

__all__ = ["DecoderArchitecture", "DecoderFamily"]

DecoderFamily = Literal["gpt2", "llama"]


@dataclass(frozen=True, kw_only=True)
class DecoderArchitecture:
    """Everything that decides the shapes and the function of a causal language model.

    Norms stand before each block and after the last one.
    """

    family: DecoderFamily
    """Decides a checkpoint's names."""
    vocab_size: int
    """V: rows of the token embedding and columns of the decoder."""
    num_layers: int
    """L: layers."""
    hidden_dim: int
    """D: width of the states; a multiple of `num_heads`."""
    num_heads: int
    """H: heads of the queries, D / H components each."""
    num_kv_heads: int
    """K: heads of keys and values; each serves H / K heads of the queries."""
    intermediate_dim: int
    """F: width inside the feed-forward blocks."""
    max_positions: int
    """Longest input in tokens."""
    norm: Literal["layer", "rms"]
    """Layer norm, or division by the root of the mean square (Zhang and Sennrich, 2019)."""
    norm_epsilon: float
    """Added to the variance or the mean square."""
    positions: Literal["learned", "rotary"]
    """A table added to the embeddings, or a rotation of queries and keys."""
    rope_theta: float = 10000.0
    """Base of the rotary wavelengths; without a part where positions are learned."""
    activation: Activation
    """In the feed-forward blocks."""
    gated: bool
    """Whether the feed-forward is down(activation(gate(x)) * up(x)); else two layers."""
    has_bias: bool
    """Whether the projections have biases."""
    tied: bool
    """Whether the token embeddings are the decoder's matrix too."""
    hidden_dropout: float = 0.0
    """Dropout rate of the embeddings and of every block's output, in training."""
    attention_dropout: float = 0.0
    """Dropout rate of the attention probabilities, in training."""
    initializer_range: float = 0.02
    """Standard deviation of freshly drawn matrices."""

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_dim",
            "num_heads",
            "num_kv_heads",
            "intermediate_dim",
            "max_positions",
        ):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("num_layers", self.num_layers, 0)
        check_multiple("hidden_dim", self.hidden_dim, "num_heads", self.num_heads)
        check_multiple("num_heads", self.num_heads, "num_kv_heads", self.num_kv_heads)
        check_activation(self.activation)
        for name in ("hidden_dropout", "attention_dropout"):
            check_rate(name, getattr(self, name))
        for name in ("norm_epsilon", "initializer_range", "rope_theta"):
            check_positive(name, getattr(self, name))
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions need heads of even width, got {self.head_dim}")

    @property
    def head_dim(self) -> int:
        """A: width of one attention head."""
        return self.hidden_dim // self.num_heads

    def num_parameters(self) -> int:
        """Trained numbers; a tied decoder counts once."""
        d, f, kv = self.hidden_dim, self.intermediate_dim, self.num_kv_heads * self.head_dim
        norm = 2 * d if self.norm == "layer" else d
        biases = 2 * d + 2 * kv + (0 if self.gated else f + d)
        layer = 2 * d * d + 2 * d * kv + (3 if self.gated else 2) * d * f + 2 * norm
        layer += biases if self.has_bias else 0
        positions = self.max_positions * d if self.positions == "learned" else 0
        tables = (1 if self.tied else 2) * self.vocab_size * d
        return tables + positions + self.num_layers * layer + norm

    def forward_flops(self, *, num_tokens: int, seq_length: int, num_logit_positions: int) -> int:
        """Floating-point operations of a forward pass, matrix products only (2 per multiply-add).

        Args:
          num_tokens: token slots computed, padding included.
          seq_length: slots of a row; scores that causality removes are computed all the same.
          num_logit_positions: positions at which the vocabulary projection runs.
        """
        d, f, kv = self.hidden_dim, self.intermediate_dim, self.num_kv_heads * self.head_dim
        products = 2 * d * d + 2 * d * kv + (3 if self.gated else 2) * d * f + 2 * seq_length * d
        return 2 * (
            self.num_layers * num_tokens * products + num_logit_positions * d * self.vocab_size
        )

    def differences(self, other: "DecoderArchitecture") -> list[str]:
        """As `EncoderArchitecture.differences`."""
        return field_differences(dataclasses.asdict(self), dataclasses.asdict(other))


_CHOICES = {
    "family": get_args(DecoderFamily),
    "norm": ("layer", "rms"),
    "positions": ("learned", "rotary"),
}
