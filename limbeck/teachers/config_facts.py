"""Sizes that any model's `config.json` states, under the names that its family gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import UsageError

__all__ = ["UNLIMITED", "ConfigFacts", "config_facts"]

UNLIMITED = 2**31 - 1  # positions of a model that has no table of them

# transformers' own names first, then what single families call them.
_NAMES = {
    "vocab_size": ("vocab_size",),
    "num_layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    "hidden_dim": ("hidden_size", "dim", "d_model", "n_embd"),
    "max_positions": ("max_position_embeddings", "n_positions", "max_sequence_length"),
    "num_heads": ("num_attention_heads", "n_heads", "n_head"),
}
# Their tables of positions begin with pad_token_id + 1 rows that no token uses.
_OFFSET_FAMILIES = frozenset(
    "camembert data2vec-text ibert longformer luke mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod".split()
)


@dataclass(frozen=True, kw_only=True)
class ConfigFacts:
    """What a `config.json` says, whatever the family."""

    family: str
    """`model_type`."""
    vocab_size: int
    """Number of ids."""
    num_layers: int
    """Layers behind the embeddings."""
    hidden_dim: int
    """Width of the states."""
    max_positions: int
    """Longest input, in tokens."""
    pad_id: int
    """Id of padding."""
    num_segments: int
    """Segment ids it tells apart; 0 or 1 for none."""
    num_heads: int
    """Attention heads; 0 where it does not say."""
    num_labels: int
    """Labels of a task; transformers' 2 where it does not say."""
    named: str
    """The class that it names first; empty where it names none."""
    is_causal: bool
    """Whether it names a model that predicts what comes next, not what was masked."""


def config_facts(config: Mapping[str, Any], *, where: str) -> ConfigFacts:
    """Reads the contents of a `config.json`.

    Raises:
      UsageError: not the config of a text encoder or decoder: a size is missing or impossible.
    """
    if config.get("is_encoder_decoder"):
        raise UsageError(
            f"{where}: an encoder-decoder ({config.get('model_type')}); a teacher reads one text "
            "and gives states or logits for it: take an encoder or a decoder"
        )
    family = str(config.get("model_type", ""))
    pad_id = config.get("pad_token_id")
    pad_id = pad_id if isinstance(pad_id, int) and pad_id >= 0 else 0
    positions = _size(config, "max_positions", where=where, default=UNLIMITED)
    if family in _OFFSET_FAMILIES and positions != UNLIMITED:
        positions -= pad_id + 1
    num_segments = config.get("type_vocab_size")
    return ConfigFacts(
        family=family,
        vocab_size=_size(config, "vocab_size", where=where),
        num_layers=_size(config, "num_layers", where=where),
        hidden_dim=_size(config, "hidden_dim", where=where),
        max_positions=positions,
        pad_id=pad_id,
        num_segments=num_segments if isinstance(num_segments, int) else 0,
        num_heads=_size(config, "num_heads", where=where, default=0),
        num_labels=_num_labels(config),
        named=next(iter(_classes(config)), ""),
        is_causal=_is_causal(config),
    )


def _is_causal(config: Mapping[str, Any]) -> bool:
    return bool(config.get("is_decoder")) or any(
        name.endswith(("ForCausalLM", "LMHeadModel")) and not name.endswith("WithLMHeadModel")
        for name in _classes(config)  # XLM and FlauBERT call their masked LMs so
    )


def _num_labels(config: Mapping[str, Any]) -> int:
    labels, number = config.get("id2label"), config.get("num_labels")
    if isinstance(labels, dict) and labels:
        return len(labels)
    return number if isinstance(number, int) and number > 0 else 2


def _classes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def _size(config: Mapping[str, Any], name: str, *, where: str, default: int | None = None) -> int:
    names = _NAMES[name]
    found = [config[key] for key in names if config.get(key) is not None]
    if not found and default is not None:
        return default
    if not found or isinstance(found[0], bool) or not isinstance(found[0], int) or found[0] < 1:
        what = f"{names[0]} is {found[0]!r}" if found else f"no {names[0]}"
        raise UsageError(f"{where}: {what}; the config of a text model is expected")
    return found[0]
