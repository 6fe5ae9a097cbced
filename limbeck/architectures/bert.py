"""BERT (Devlin et al., 2019, arXiv 1810.04805): post-norm encoder with a masked-LM head."""

# N tokens (padding included), T padded length, D hidden, F intermediate, V vocabulary
# H attention heads, L layers

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import LimbeckError

__all__ = ["Activation", "BertArchitecture"]

Activation = Literal["gelu", "gelu_tanh", "relu"]

# transformers' name -> ours. "gelu" is the exact one, with the error function.
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_HF_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}

# Ours -> transformers' key of config.json.
_HF_KEYS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_dim": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "activation": "hidden_act",
    "layer_norm_epsilon": "layer_norm_eps",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
}

# They decide how a model is trained or started, not what trained weights compute.
_TRAINING_ONLY = ("hidden_dropout", "attention_dropout", "initializer_range")


@dataclass(frozen=True, kw_only=True)
class BertArchitecture:
    """Everything that decides the shapes and the function of a BERT masked language model."""

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
    """Longest input in tokens."""
    type_vocab_size: int = 2
    """Number of segment ids."""
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

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_dim", "num_heads", "intermediate_dim", "max_positions"):
            _check_at_least(name, getattr(self, name), 1)
        _check_at_least("num_layers", self.num_layers, 0)
        _check_at_least("type_vocab_size", self.type_vocab_size, 1)
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                f"hidden_dim {self.hidden_dim} is not a multiple of num_heads {self.num_heads}"
            )
        if self.activation not in _HF_ACTIVATIONS:
            known = ", ".join(_HF_ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}, got {self.activation!r}")
        for name in ("hidden_dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)!r}")
        for name in ("layer_norm_epsilon", "initializer_range"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_dim // self.num_heads

    def num_parameters(self) -> int:
        """Trained numbers of encoder and masked-LM head; the tied decoder counts once."""
        d, f = self.hidden_dim, self.intermediate_dim
        embeddings = (self.vocab_size + self.max_positions + self.type_vocab_size) * d + 2 * d
        attention = 4 * (d * d + d) + 2 * d
        feed_forward = (d * f + f) + (f * d + d) + 2 * d
        head = (d * d + d) + 2 * d + self.vocab_size
        return embeddings + self.num_layers * (attention + feed_forward) + head

    def forward_flops(self, *, num_tokens: int, seq_length: int, num_logit_positions: int) -> int:
        """Floating-point operations of a forward pass, matrix products only (2 per multiply-add).

        Args:
          num_tokens: token slots computed, padding included.
          seq_length: slots that each token attends to.
          num_logit_positions: positions at which the masked-LM head runs.
        """
        d, f = self.hidden_dim, self.intermediate_dim
        layer = num_tokens * (4 * d * d + 2 * d * f + 2 * seq_length * d)
        head = num_logit_positions * (d * d + d * self.vocab_size)
        return 2 * (self.num_layers * layer + head)

    def differences(self, other: "BertArchitecture") -> list[str]:
        """What keeps weights of one shape from meaning the same in the other.

        Returns:
          Lines "NAME is A and not B" with this architecture's value first; empty if they fit.
          Dropout rates and `initializer_range` may differ.
        """
        return [
            f"{name} is {mine} and not {theirs}"
            for name, mine in dataclasses.asdict(self).items()
            if name not in _TRAINING_ONLY and (theirs := getattr(other, name)) != mine
        ]

    @classmethod
    def from_hf_config(cls, config: Mapping[str, Any]) -> "BertArchitecture":
        """Reads the contents of a transformers `config.json`.

        Raises:
          LimbeckError: another family, a missing key, or a variant of BERT that is not supported.
        """
        _check_supported(config)
        # transformers leaves out what equals its default only for these.
        values = {
            ours: config[theirs]
            for ours, theirs in _HF_KEYS.items()
            if theirs in config or ours in _REQUIRED
        }
        hf_activation = values.get("activation", "gelu")
        if hf_activation not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise LimbeckError(
                f"hidden_act is {hf_activation!r}; supported activations are {known}"
            )
        values["activation"] = _ACTIVATIONS[hf_activation]
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise LimbeckError(str(error)) from error

    def to_hf_config(self) -> dict[str, Any]:
        """The contents of a `config.json` that transformers loads as BertForMaskedLM."""
        values = {theirs: getattr(self, ours) for ours, theirs in _HF_KEYS.items()}
        return {
            **values,
            "architectures": ["BertForMaskedLM"],
            "hidden_act": _HF_ACTIVATIONS[self.activation],
            "model_type": "bert",
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
            "tie_word_embeddings": True,
        }


_REQUIRED = ("vocab_size", "num_layers", "hidden_dim", "num_heads", "intermediate_dim")


def _check_supported(config: Mapping[str, Any]) -> None:
    family = config.get("model_type")
    if family != "bert":
        raise LimbeckError(f"model_type is {family!r}; only 'bert' is supported")
    for ours in _REQUIRED:
        if _HF_KEYS[ours] not in config:
            raise LimbeckError(f"{_HF_KEYS[ours]} is missing")
    for name, supported in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("tie_word_embeddings", True),
    ):
        value = config.get(name, supported)
        if value is not None and value != supported:
            raise LimbeckError(f"{name} is {value!r}; only {supported!r} is supported")


def _check_at_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer from {least}, got {value!r}")
