"""Shapes of transformer encoders: BERT and its relatives.

bert           Devlin et al., 2019 (arXiv 1810.04805); also the cased and multilingual ones,
               and the small shapes of TinyBERT and MiniLM
megatron-bert  Shoeybi et al., 2019 (arXiv 1909.08053): norms before the blocks
roberta        Liu et al., 2019 (arXiv 1907.11692): positions count real tokens only
xlm-roberta    Conneau et al., 2020 (arXiv 1911.02116): the same function as roberta
distilbert     Sanh et al., 2019 (arXiv 1910.01108): no segments
electra        Clark et al., 2020 (arXiv 2003.10555): embeddings narrower than the states
albert         Lan et al., 2020 (arXiv 1909.11942): one layer applied L times, narrow embeddings
"""

# N tokens (padding included), T padded length, D hidden, E embedding width, F intermediate
# V vocabulary, H attention heads, L layers

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

__all__ = ["Activation", "EncoderArchitecture", "EncoderFamily"]

EncoderFamily = Literal[
    "bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "megatron-bert"
]


@dataclass(frozen=True, kw_only=True)
class EncoderArchitecture:
    """Everything that decides the shapes and the function of an encoder and its masked-LM head."""

    vocab_size: int
    """V: rows of the token embedding and columns of the tied decoder."""
    num_layers: int
    """L: encoder layers."""
    hidden_dim: int
    """D: width of the states; a multiple of `num_heads`."""
    num_heads: int
    """H: attention heads of D / H components each."""
    intermediate_dim: int
    """F: width inside the feed-forward blocks."""
    max_positions: int = 512
    """Longest input in tokens; the position table has `position_offset` rows more."""
    type_vocab_size: int = 2
    """Number of segment ids; 0 for no segment embedding (DistilBERT)."""
    activation: Activation = "gelu"
    """In the feed-forward blocks and the head: `gelu` is exact, `gelu_tanh` its approximation."""
    layer_norm_epsilon: float = 1e-12
    """Added to the variance in every layer norm."""
    hidden_dropout: float = 0.1
    """Dropout rate of the embeddings and of every block's output, in training."""
    attention_dropout: float = 0.1
    """Dropout rate of the attention probabilities, in training."""
    initializer_range: float = 0.02
    """Standard deviation of freshly drawn matrices."""
    family: EncoderFamily = "bert"
    """Decides a checkpoint's names, the shapes of the heads and where the original drops."""
    embedding_dim: int | None = None
    """E: width of the embeddings, projected to D (ALBERT, ELECTRA); None: D, not projected."""
    shared_layers: bool = False
    """One layer's weights, applied `num_layers` times (ALBERT)."""
    norm_position: Literal["post", "pre"] = "post"
    """Norms after each block's sum (BERT), or before each block and after the last one."""
    position_offset: int = 0
    """Rows at the start of the position table that no real token uses. Above 0 (RoBERTa: pad_id +
    1) positions count only the tokens that are not `pad_id`."""
    pad_id: int = 0
    """Id of padding."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_dim", "num_heads", "intermediate_dim", "max_positions"):
            check_at_least(name, getattr(self, name), 1)
        for name in ("num_layers", "type_vocab_size", "position_offset", "pad_id"):
            check_at_least(name, getattr(self, name), 0)
        if self.embedding_dim is not None:
            check_at_least("embedding_dim", self.embedding_dim, 1)
        check_multiple("hidden_dim", self.hidden_dim, "num_heads", self.num_heads)
        check_activation(self.activation)
        for name in ("hidden_dropout", "attention_dropout"):
            check_rate(name, getattr(self, name))
        for name in ("layer_norm_epsilon", "initializer_range"):
            check_positive(name, getattr(self, name))
        self._check_family()

    def _check_family(self) -> None:
        families = get_args(EncoderFamily)
        if self.family not in families:
            raise ValueError(f"family must be one of {', '.join(families)}, got {self.family!r}")
        if self.norm_position not in ("post", "pre"):
            raise ValueError(f"norm_position must be post or pre, got {self.norm_position!r}")
        if self.family == "electra" and self.embedding_dim == self.hidden_dim:
            raise ValueError(
                f"embedding_dim is hidden_dim, {self.hidden_dim}: an ELECTRA of equal widths has "
                "no projection; leave embedding_dim out"
            )
        if self.position_offset not in (0, self.pad_id + 1):
            raise ValueError(
                f"position_offset must be 0 or pad_id + 1 ({self.pad_id + 1}), got "
                f"{self.position_offset}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_dim // self.num_heads

    @property
    def embedding_width(self) -> int:
        """E: width of the token embeddings and of the tied decoder."""
        return self.hidden_dim if self.embedding_dim is None else self.embedding_dim

    @property
    def num_stored_layers(self) -> int:
        """Layers with weights of their own."""
        return min(self.num_layers, 1) if self.shared_layers else self.num_layers

    @property
    def has_pooler(self) -> bool:
        """Whether the family's checkpoints hold a pooler."""
        return self.family not in ("distilbert", "electra")

    @property
    def classifies_pooled(self) -> bool:
        """Whether the family's classifier reads the pooler's output; else it has a dense layer."""
        return self.family not in ("roberta", "xlm-roberta", "electra", "distilbert")

    @property
    def head_activation(self) -> Activation:
        """Of the masked-LM head: RoBERTa and ELECTRA always take the exact gelu."""
        always_gelu = self.family in ("roberta", "xlm-roberta", "electra")
        return "gelu" if always_gelu else self.activation

    def num_parameters(self) -> int:
        """Trained numbers of encoder and masked-LM head; the tied decoder counts once."""
        d, e, f = self.hidden_dim, self.embedding_width, self.intermediate_dim
        rows = self.vocab_size + self.max_positions + self.position_offset + self.type_vocab_size
        norms = 2 * d if self.norm_position == "pre" else 2 * e  # of the whole, or the embeddings
        projection = 0 if self.embedding_dim is None else e * d + d
        attention = 4 * (d * d + d) + 2 * d
        feed_forward = (d * f + f) + (f * d + d) + 2 * d
        head = (d * e + e) + 2 * e + self.vocab_size
        layers = self.num_stored_layers * (attention + feed_forward)
        return rows * e + norms + projection + layers + head

    def forward_flops(self, *, num_tokens: int, seq_length: int, num_logit_positions: int) -> int:
        """Floating-point operations of a forward pass, matrix products only (2 per multiply-add).

        Args:
          num_tokens: token slots computed, padding included.
          seq_length: slots that each token attends to.
          num_logit_positions: positions at which the masked-LM head runs.
        """
        d, e, f = self.hidden_dim, self.embedding_width, self.intermediate_dim
        projection = 0 if self.embedding_dim is None else num_tokens * e * d
        layer = num_tokens * (4 * d * d + 2 * d * f + 2 * seq_length * d)
        head = num_logit_positions * (d * e + e * self.vocab_size)
        return 2 * (projection + self.num_layers * layer + head)

    def differences(self, other: "EncoderArchitecture") -> list[str]:
        """What keeps weights of one shape from meaning the same in the other.

        Returns:
          Lines "NAME is A and not B" with this architecture's value first; empty if they fit.
          Dropout rates and `initializer_range` may differ.
        """
        return field_differences(dataclasses.asdict(self), dataclasses.asdict(other))
