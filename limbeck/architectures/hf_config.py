"""transformers' `config.json` of every family to and from our architectures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_families import ACTIVATIONS, FAMILIES, HfFamily
from limbeck.config.errors import LimbeckError, UsageError

__all__ = [
    "Architecture",
    "architecture_from_hf",
    "head_from_hf",
    "hf_config_of",
    "nearest_hf",
    "num_labels_from_hf",
]

Architecture = EncoderArchitecture | DecoderArchitecture

_DECODERS = ("gpt2", "llama")
_OFFSET = ("roberta", "xlm-roberta")  # their tables of positions start at pad_id + 1
_DISTILBERT_EPSILON = 1e-12  # written into its code, not its config


def architecture_from_hf(config: Mapping[str, Any]) -> Architecture:
    """Reads the contents of a `config.json`.

    Raises:
      LimbeckError: an unknown family, a missing key, an option that is not supported, or sizes
        that contradict each other; names the key.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise LimbeckError(f"model_type is {family!r}; known families are {', '.join(FAMILIES)}")
    spec = FAMILIES[family]
    values = _values(config, spec)
    try:
        if family in _DECODERS:
            return _decoder(family, config, values)
        return _encoder(family, values)
    except (TypeError, ValueError) as error:
        raise LimbeckError(str(error)) from error


def hf_config_of(
    architecture: Architecture,
    *,
    head: str,
    num_labels: int | None = None,
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """The contents of a `config.json` with which transformers builds the model.

    Args:
      architecture: of a family's own shape; see `nearest_hf`.
      head: of `limbeck.models.build`, or "encoder" or "decoder" for none.
      num_labels: of classifiers.
      labels: their names; none for transformers' placeholders.

    Raises:
      UsageError: transformers has no such model.
    """
    spec = FAMILIES[architecture.family]
    if head not in spec.heads:
        raise UsageError(
            f"transformers has no {architecture.family} with the head {head!r}; it has "
            f"{', '.join(spec.heads)}"
        )
    _check_shape(architecture)
    config: dict[str, Any] = {
        theirs: getattr(architecture, ours, None) for ours, theirs in spec.keys.items()
    }
    key = spec.keys["activation"]
    config[key] = _activation_name(architecture)
    config |= {"architectures": [spec.heads[head]], "model_type": architecture.family}
    config |= {**spec.only, **config}
    config.pop("is_decoder", None)
    config.pop("add_cross_attention", None)
    if isinstance(architecture, EncoderArchitecture):
        config[spec.keys["max_positions"]] += architecture.position_offset
        if architecture.family == "electra":
            config["embedding_size"] = architecture.embedding_width
    else:
        config |= _decoder_keys(architecture)
    if num_labels is not None:
        names = list(labels) or [f"LABEL_{i}" for i in range(num_labels)]
        if len(names) != num_labels:
            raise ValueError(f"{len(names)} names for {num_labels} labels")
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    return config


def nearest_hf(architecture: Architecture) -> Architecture:
    """The same function as a shape that transformers knows, where there is one.

    A BERT with narrow embeddings is an ELECTRA.
    """
    narrow = isinstance(architecture, EncoderArchitecture) and architecture.embedding_dim
    if narrow and architecture.family == "bert" and architecture.activation == "gelu":
        return dataclasses.replace(architecture, family="electra")
    return architecture


def head_from_hf(config: Mapping[str, Any]) -> str | None:
    """The head that `architectures` in a `config.json` names; None where it names none of ours."""
    names = config.get("architectures")
    spec = FAMILIES.get(str(config.get("model_type")))
    if spec is None or not isinstance(names, list) or not names:
        return None
    return next((head for head, name in spec.heads.items() if name == names[0]), None)


def num_labels_from_hf(config: Mapping[str, Any]) -> int | None:
    """How many labels a `config.json` names; None where it names none."""
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    number = config.get("num_labels")
    return number if isinstance(number, int) else None


def _values(config: Mapping[str, Any], spec: HfFamily) -> dict[str, Any]:
    """Our fields, as far as the file or transformers' defaults give them."""
    for key in spec.required:
        if config.get(key) is None:
            raise LimbeckError(f"{key} is missing")
    for key, supported in spec.only.items():
        value = config.get(key, supported)
        if value is not None and value != supported:
            raise LimbeckError(f"{key} is {value!r}; only {supported!r} is supported")
    found = {**spec.defaults, **{k: v for k, v in config.items() if v is not None}}
    values = {ours: found[theirs] for ours, theirs in spec.keys.items() if theirs in found}
    key = spec.keys["activation"]
    name = found.get(key, "gelu")
    if name not in ACTIVATIONS:
        raise LimbeckError(f"{key} is {name!r}; supported activations are {', '.join(ACTIVATIONS)}")
    values["activation"] = ACTIVATIONS[name]
    return values


def _encoder(family: str, values: dict[str, Any]) -> EncoderArchitecture:
    if values.get("embedding_dim") == values["hidden_dim"] and family == "electra":
        del values["embedding_dim"]
    if family in _OFFSET:
        offset = values["pad_id"] + 1
        values["position_offset"] = offset
        values["max_positions"] = values.get("max_positions", 512) - offset
    if family == "distilbert":
        values |= {"type_vocab_size": 0, "layer_norm_epsilon": _DISTILBERT_EPSILON}
    return EncoderArchitecture(
        family=family,  # type: ignore[arg-type]
        shared_layers=family == "albert",
        norm_position="pre" if family == "megatron-bert" else "post",
        **values,
    )


def _decoder(family: str, config: Mapping[str, Any], values: dict[str, Any]) -> DecoderArchitecture:
    values.setdefault("num_kv_heads", values["num_heads"])
    if family == "gpt2":
        values.setdefault("intermediate_dim", 4 * values["hidden_dim"])
        return DecoderArchitecture(
            family="gpt2",
            norm="layer",
            positions="learned",
            gated=False,
            has_bias=True,
            tied=True,
            **values,
        )
    head_dim = config.get("head_dim")
    if head_dim is not None and head_dim * values["num_heads"] != values["hidden_dim"]:
        raise LimbeckError(
            f"head_dim is {head_dim!r}; only hidden_size / num_attention_heads is supported"
        )
    return DecoderArchitecture(
        family="llama",
        norm="rms",
        positions="rotary",
        rope_theta=_rope_theta(config),
        gated=True,
        has_bias=False,
        **values,
    )


def _rope_theta(config: Mapping[str, Any]) -> float:
    for key in ("rope_parameters", "rope_scaling"):
        options = config.get(key) or {}
        kind = options.get("rope_type", options.get("type", "default"))
        if kind != "default":
            raise LimbeckError(f"{key} is of type {kind!r}; only 'default' is supported")
        if "rope_theta" in options:
            return float(options["rope_theta"])
    return float(config.get("rope_theta") or 10000.0)


def _decoder_keys(architecture: DecoderArchitecture) -> dict[str, Any]:
    # No ids of special tokens, which are the tokenizer's: the defaults are another vocabulary's.
    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if architecture.family == "gpt2":
        return {**tokens, "embd_pdrop": architecture.hidden_dropout}
    theta = architecture.rope_theta
    return {
        **tokens,
        "head_dim": architecture.head_dim,
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "rope_theta": theta,
    }


def _activation_name(architecture: Architecture) -> str:
    if architecture.activation != "gelu_tanh":
        return architecture.activation
    return "gelu_new" if architecture.family in ("gpt2", "albert") else "gelu_pytorch_tanh"


def _check_shape(architecture: Architecture) -> None:
    """Refuses what the family's config cannot say."""
    family = architecture.family
    if isinstance(architecture, EncoderArchitecture):
        narrow = {"albert": (True,), "electra": (True, False)}.get(family, (False,))
        fits = {
            "embedding_dim": (architecture.embedding_dim is not None) in narrow,
            "shared_layers": architecture.shared_layers == (family == "albert"),
            "norm_position": (architecture.norm_position == "pre") == (family == "megatron-bert"),
            "position_offset": bool(architecture.position_offset) == (family in _OFFSET),
            "type_vocab_size": (architecture.type_vocab_size == 0) == (family == "distilbert"),
            "layer_norm_epsilon": family != "distilbert"
            or architecture.layer_norm_epsilon == _DISTILBERT_EPSILON,
        }
    else:
        gpt2 = family == "gpt2"
        fits = {
            "norm": architecture.norm == ("layer" if gpt2 else "rms"),
            "positions": architecture.positions == ("learned" if gpt2 else "rotary"),
            "gated": architecture.gated != gpt2,
            "has_bias": architecture.has_bias == gpt2,
            "tied": architecture.tied or not gpt2,
            "num_kv_heads": not gpt2 or architecture.num_kv_heads == architecture.num_heads,
        }
    if wrong := [name for name, fit in fits.items() if not fit]:
        raise UsageError(
            f"{wrong[0]} is {getattr(architecture, wrong[0])!r}, which no {family} of transformers "
            "has; take a family that has it"
        )
