"""Model folders as transformers writes them: `config.json` beside `model.safetensors`."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.architectures.bert import BertArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.safetensors_file import read_tensors

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "read_architecture", "read_hf"]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
_INDEX_NAME = "model.safetensors.index.json"
_EXECUTABLE = "pytorch_model.bin"


def read_hf(directory: str | os.PathLike[str]) -> tuple[BertArchitecture, dict[str, np.ndarray]]:
    """Reads a model folder.

    Returns:
      The shape, and every tensor by the file's own name and in the file's own dtype.

    Raises:
      UsageError: no such folder, not a BERT, or no safetensors in it.
      LimbeckError: a file is damaged.
    """
    architecture = read_architecture(directory)
    tensors: dict[str, np.ndarray] = {}
    for path in _weight_files(Path(directory)):
        tensors.update(read_tensors(path))
    return architecture, tensors


def read_architecture(directory: str | os.PathLike[str]) -> BertArchitecture:
    """Reads the shape alone, from `config.json`.

    Raises:
      UsageError: no such folder, or not a BERT.
      LimbeckError: the file is damaged.
    """
    path = Path(directory) / CONFIG_NAME
    if not path.is_file():
        what = "not a model folder" if path.parent.is_dir() else "no such folder"
        raise UsageError(f"{directory}: {what} ({CONFIG_NAME} beside {WEIGHTS_NAME} is expected)")
    config = _read_json(path)
    try:
        return BertArchitecture.from_hf_config(config)
    except LimbeckError as error:
        raise UsageError(f"{path}: {error}") from error


def _weight_files(directory: Path) -> list[Path]:
    single, index = directory / WEIGHTS_NAME, directory / _INDEX_NAME
    if single.is_file():
        return [single]
    if index.is_file():
        names = _read_json(index).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
            raise LimbeckError(f"{index}: no weight_map; fetch the folder again")
        # Only files of this folder, whatever the index says.
        files = [directory / Path(name).name for name in sorted(set(names.values()))]
        if lost := [file.name for file in files if not file.is_file()]:
            raise LimbeckError(f"{directory}: {lost[0]} is missing, which {index.name} names")
        return files
    if (directory / _EXECUTABLE).is_file():
        raise UsageError(
            f"{directory}: only {_EXECUTABLE}, a format that can execute code when it is read; "
            "save the model as safetensors first (transformers: model.save_pretrained)"
        )
    raise UsageError(f"{directory}: no {WEIGHTS_NAME} in it")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LimbeckError(f"{path}: not JSON: {error}; fetch the folder again") from error
    if not isinstance(value, dict):
        raise LimbeckError(f"{path}: a JSON object is expected, found {type(value).__name__}")
    return value
