"""Models as folders that transformers loads without a missing or unexpected tensor."""

import filecmp
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.architectures.hf_config import hf_config_of, nearest_hf
from limbeck.config.errors import UsageError
from limbeck.models.names import named_variables
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
from limbeck.weights.heads import head_of, num_labels_of
from limbeck.weights.hf_folder import CONFIG_NAME, WEIGHTS_NAME
from limbeck.weights.names import table_of
from limbeck.weights.safetensors_file import write_tensors
from limbeck.weights.tokenizer_json import tokenizer_json

__all__ = ["check_tokenizer", "export_hf", "hf_tensors", "publish_folder", "write_tokenizer"]


def export_hf(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None,
    labels: Sequence[str] = (),
) -> Path:
    """Writes `config.json`, `model.safetensors` and the tokenizer's files.

    The folder appears whole, under its name, or not at all. Where it is there already with the
    same contents nothing happens. One process at a time may export to a folder.

    Args:
      model: of `limbeck.models.build`, with any head.
      directory: to make; its parents are made as needed.
      tokenizer: the model's; None leaves it out.
      labels: names of a classifier's outputs; none for transformers' placeholders.

    Raises:
      UsageError: the folder holds something else, the vocabulary is of another size, or
        transformers has no such model.
    """
    architecture = nearest_hf(model.architecture)
    head = head_of(model)
    config = hf_config_of(architecture, head=head, num_labels=num_labels_of(model), labels=labels)
    check_tokenizer(model, tokenizer)

    def write(staging: Path) -> None:
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        atomic_write(staging / CONFIG_NAME, text.encode())
        write_tensors(staging / WEIGHTS_NAME, hf_tensors(model), metadata={"format": "pt"})
        if tokenizer is not None:
            write_tokenizer(tokenizer, staging, max_positions=architecture.max_positions)

    return publish_folder(directory, write)


def hf_tensors(model: Any) -> dict[str, np.ndarray]:
    """Every weight as transformers names and shapes it."""
    architecture, head = nearest_hf(model.architecture), head_of(model)
    values = {name: np.asarray(variable) for name, variable in named_variables(model).items()}
    table = table_of(architecture.family)
    return table.to_tensors(values, head=head, prefixed=head not in ("encoder", "decoder"))


def check_tokenizer(model: Any, tokenizer: Tokenizer | None) -> None:
    """Refuses a tokenizer of another vocabulary.

    Raises:
      UsageError: says both sizes.
    """
    size = model.architecture.vocab_size
    if tokenizer is not None and tokenizer.vocab_size != size:
        raise UsageError(f"the tokenizer has {tokenizer.vocab_size} ids and the model {size}")


def write_tokenizer(tokenizer: Tokenizer, directory: Path, *, max_positions: int) -> None:
    """Writes a tokenizer's files as transformers reads them."""
    save_tokenizer(tokenizer, directory)
    path = directory / TOKENIZER_CONFIG_NAME
    config = {**json.loads(path.read_bytes()), "model_max_length": max_positions}
    atomic_write(path, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
    if isinstance(tokenizer, WordPiece):  # the others' own files are what transformers reads
        atomic_write(directory / "tokenizer.json", tokenizer_json(tokenizer).encode())


def publish_folder(directory: str | os.PathLike[str], write: Callable[[Path], None]) -> Path:
    """Makes a folder that appears whole or not at all.

    Args:
      directory: to make; may be there, empty or with the same contents.
      write: fills a folder of a temporary name.

    Raises:
      UsageError: the folder holds something else.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(directory)
    staging = directory.with_name(temporary_name(directory.name))
    staging.mkdir()
    try:
        write(staging)
        _publish(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return directory


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
