"""A name for what a model computes: SHA-256 over its shape and its weights."""

import hashlib
import os

import numpy as np

from limbeck.records.canonical import canonical
from limbeck.weights.bert_names import canonical_names, why_unused
from limbeck.weights.hf_folder import read_hf

__all__ = ["fingerprint"]


def fingerprint(directory: str | os.PathLike[str]) -> str:
    """Returns 64 hex digits that change with the shape or any weight of the folder's model.

    Neither the order, the prefix of the names, the split into files nor the spelling of
    `config.json` have a part; nor have dropout rates, nor tensors that a masked LM does not use.
    """
    architecture, tensors = read_hf(directory)
    config = architecture.to_hf_config()
    for training_only in (
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "initializer_range",
    ):
        del config[training_only]
    digest = hashlib.sha256(b"limbeck-model-1\n" + canonical(config))
    named = canonical_names(tensors, where=os.fspath(directory))
    for name in sorted(named):
        if why_unused(name) is None:
            _absorb(digest, name, named[name][1])
    return digest.hexdigest()


def _absorb(digest: "hashlib._Hash", name: str, tensor: np.ndarray) -> None:
    # Values, not encodings: float16, bfloat16 and float32 of equal value are equal weights.
    values = np.ascontiguousarray(tensor.astype("<f4"))
    digest.update(canonical([name, list(values.shape)]))
    digest.update(values.data)
