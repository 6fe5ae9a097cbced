"""Models as TensorFlow checkpoints with the names of Google's BERT, ELECTRA and ALBERT."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import hf_config_of
from limbeck.config.errors import UsageError
from limbeck.models.names import named_variables
from limbeck.records.files import atomic_write
from limbeck.tokens.tokenizer import Tokenizer
from limbeck.weights.export import check_tokenizer, publish_folder, write_tokenizer
from limbeck.weights.heads import head_of
from limbeck.weights.names import table_of
from limbeck.weights.tensorflow_folder import CONFIG_NAMES

__all__ = ["export_tensorflow", "tensorflow_tensors"]

_PREFIXES = {
    "bert": "bert_model.ckpt",
    "electra": "electra_model.ckpt",
    "albert": "model.ckpt-best",
}
_EPSILON = 1e-12  # written into Google's code

# What Google's configurations say; transformers' further keys mean nothing to them.
_KEYS = (
    "attention_probs_dropout_prob",
    "embedding_size",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "initializer_range",
    "inner_group_num",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_groups",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


def export_tensorflow(
    model: Any, directory: str | os.PathLike[str], *, tokenizer: Tokenizer | None
) -> Path:
    """Writes a checkpoint, its configuration and the tokenizer's files.

    The folder appears whole or not at all; see `export_hf`.

    Args:
      model: a BERT, ELECTRA or ALBERT with any head that Google's code has.
      directory: to make.
      tokenizer: the model's; None leaves it out.

    Raises:
      UsageError: Google's checkpoints have no names for it, or the folder holds something else.
    """
    architecture = model.architecture
    tensors = tensorflow_tensors(model)
    config = _config(architecture)
    check_tokenizer(model, tokenizer)
    family = architecture.family

    def write(staging: Path) -> None:
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        atomic_write(staging / CONFIG_NAMES[family], text.encode())
        tf.raw_ops.SaveV2(
            prefix=str(staging / _PREFIXES[family]),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=[np.ascontiguousarray(values) for values in tensors.values()],
        )
        for path in staging.iterdir():
            _fsync(path)
        if tokenizer is not None:
            write_tokenizer(tokenizer, staging, max_positions=architecture.max_positions)

    return publish_folder(directory, write)


def tensorflow_tensors(model: Any) -> dict[str, np.ndarray]:
    """Every weight as Google's checkpoints name and shape it, by name.

    Raises:
      UsageError: they have no such family, or no such head.
    """
    family, head = model.architecture.family, head_of(model)
    table = table_of(family)
    if table.tensorflow is None:
        raise UsageError(
            f"no TensorFlow checkpoints of {family} are known; there are {', '.join(CONFIG_NAMES)}"
        )
    tensors = {}
    for name, variable in sorted(named_variables(model).items()):
        try:
            place = table.tensorflow_place(name)
        except KeyError:
            raise UsageError(f"Google's {family} has no head {head!r} ({name})") from None
        values = np.asarray(variable)
        tensors[place.tensor] = values.T if place.transposed else values
    return tensors


def _config(architecture: EncoderArchitecture) -> dict[str, Any]:
    config = hf_config_of(architecture, head="masked_lm")
    if architecture.layer_norm_epsilon != _EPSILON:
        raise UsageError(
            f"layer_norm_epsilon is {architecture.layer_norm_epsilon}; Google's code always takes "
            f"{_EPSILON}"
        )
    return {name: config[name] for name in _KEYS if name in config}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
