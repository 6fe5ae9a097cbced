"""A name for what a model computes: SHA-256 over its shape and its weights."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.hf_config import Architecture, hf_config_of, nearest_hf
from limbeck.config.errors import UsageError
from limbeck.records.canonical import canonical
from limbeck.weights.checkpoint import Checkpoint, naming_head
from limbeck.weights.names import table_of
from limbeck.weights.read import read_checkpoint

__all__ = ["fingerprint", "fingerprint_of"]

_TRAINING_ONLY = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "dropout",
    "hidden_dropout",
    "attention_dropout",
    "resid_pdrop",
    "attn_pdrop",
    "embd_pdrop",
)
_SENTENCE_PARTS = ("pooler", "next_sentence")


def fingerprint(directory: str | os.PathLike[str]) -> str:
    """Returns 64 hex digits that change with the shape or any weight of a checkpoint's model.

    Neither the format, the order and spelling of names, the split into files nor the spelling of
    the configuration have a part; nor have dropout rates, nor tensors that a language model does
    not use: the pooler and the next-sentence head. (A checkpoint that is a classifier uses the
    pooler.)
    """
    return fingerprint_of(read_checkpoint(directory))


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """The fingerprint of a checkpoint that was read."""
    config = _config(checkpoint.architecture)
    digest = hashlib.sha256(b"limbeck-model-1\n" + canonical(config))
    for name, tensor in sorted(_tensors(checkpoint), key=lambda item: item[0]):
        _absorb(digest, name, tensor)
    return digest.hexdigest()


def _config(architecture: Architecture) -> dict[str, Any]:
    decoder = isinstance(architecture, DecoderArchitecture)
    try:
        shape = nearest_hf(architecture)
        config = hf_config_of(shape, head="causal_lm" if decoder else "masked_lm")
    except UsageError:  # a shape of ours that transformers does not know
        config = dataclasses.asdict(architecture)
    for name in _TRAINING_ONLY:
        config.pop(name, None)
    if not getattr(architecture, "position_offset", 0):
        config["pad_token_id"] = 0  # it has no part in what the model computes
    return config


def _tensors(checkpoint: Checkpoint) -> Iterable[tuple[str, np.ndarray]]:
    """Every tensor that has a part, as transformers names and shapes it without the prefix."""
    table = table_of(checkpoint.architecture.family)
    classifies = checkpoint.has_head({"classifier"}) and not checkpoint.has_head({"head"})
    kept = {
        name: found.values
        for name, found in checkpoint.found.items()
        if classifies or not name.startswith(_SENTENCE_PARTS)
    }
    head = naming_head(checkpoint.architecture.family, set(kept))
    yield from table.to_tensors(kept, head=head).items()
    for other in checkpoint.others.values():
        if other.why is None:
            yield other.name, other.values


def _absorb(digest: "hashlib._Hash", name: str, tensor: np.ndarray) -> None:
    # Values, not encodings: float16, bfloat16 and float32 of equal value are equal weights.
    values = np.ascontiguousarray(tensor.astype("<f4"))
    digest.update(canonical([name, list(values.shape)]))
    digest.update(values.data)
