"""A masked LM as a folder that transformers loads as BertForMaskedLM."""

import filecmp
import json
import os
import shutil
from pathlib import Path

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.models.masked_lm import MaskedLM, named_variables
from limbeck.records.files import (
    atomic_write,
    final_name,
    fsync_directory,
    is_temporary,
    temporary_name,
)
from limbeck.tokens.folder import CONFIG_NAME as TOKENIZER_CONFIG_NAME
from limbeck.tokens.folder import save_tokenizer
from limbeck.tokens.tokenizer import Tokenizer
from limbeck.tokens.wordpiece import WordPiece
from limbeck.weights.bert_names import HEAD_PREFIX, is_transposed, source_name
from limbeck.weights.hf_folder import CONFIG_NAME, WEIGHTS_NAME
from limbeck.weights.safetensors_file import write_tensors
from limbeck.weights.tokenizer_json import tokenizer_json

__all__ = ["export_hf", "hf_tensors"]


def export_hf(
    model: MaskedLM,
    directory: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer,
) -> Path:
    """Writes `config.json`, `model.safetensors` and the tokenizer's files.

    The folder appears whole, under its name, or not at all. Where it is there already with the
    same contents nothing happens. One process at a time may export to a folder.

    Args:
      model: to write.
      directory: to make; its parents are made as needed.
      tokenizer: the model's.

    Raises:
      UsageError: the folder holds something else, or the vocabulary is of another size.
    """
    directory = Path(directory)
    architecture = model.architecture
    if tokenizer.vocab_size != architecture.vocab_size:
        raise UsageError(
            f"the tokenizer has {tokenizer.vocab_size} ids and the model {architecture.vocab_size}"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    staging = directory.with_name(temporary_name(directory.name))
    staging.mkdir()
    try:
        config = json.dumps(architecture.to_hf_config(), indent=2, sort_keys=True) + "\n"
        atomic_write(staging / CONFIG_NAME, config.encode())
        write_tensors(staging / WEIGHTS_NAME, hf_tensors(model), metadata={"format": "pt"})
        _write_tokenizer(tokenizer, staging, max_positions=architecture.max_positions)
        _publish(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory


def hf_tensors(model: MaskedLM) -> dict[str, np.ndarray]:
    """Every weight as BertForMaskedLM names and shapes it."""
    tensors = {}
    for name, variable in named_variables(model).items():
        target = source_name(name)
        prefix = "" if target.startswith(HEAD_PREFIX) else "bert."
        values = np.asarray(variable)
        tensors[prefix + target] = values.T if is_transposed(name) else values
    return tensors


def _write_tokenizer(tokenizer: Tokenizer, directory: Path, *, max_positions: int) -> None:
    save_tokenizer(tokenizer, directory)
    path = directory / TOKENIZER_CONFIG_NAME
    config = {**json.loads(path.read_bytes()), "model_max_length": max_positions}
    atomic_write(path, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    if isinstance(tokenizer, WordPiece):  # the others' own files are what transformers reads
        atomic_write(directory / "tokenizer.json", tokenizer_json(tokenizer).encode())


def _remove_leftovers(directory: Path) -> None:
    """Removes what a killed export to the same folder has left beside it."""
    for path in directory.parent.iterdir():
        if is_temporary(path.name) and final_name(path.name) == directory.name:
            shutil.rmtree(path)


def _publish(staging: Path, directory: Path) -> None:
    fsync_directory(staging)
    names = sorted(path.name for path in staging.iterdir())
    if directory.is_dir() and (there := sorted(path.name for path in directory.iterdir())):
        same = filecmp.cmpfiles(staging, directory, names, shallow=False)[0]
        if there == names and sorted(same) == names:
            return
        raise UsageError(
            f"{directory}: holds {there[0]} and other files that are not this export; delete the "
            "folder or choose another"
        )
    os.replace(staging, directory)  # an empty folder of that name gives way
    fsync_directory(directory.parent)
