"""Model folders as transformers writes them: `config.json` beside the weights.

The weights are `model.safetensors`, or several files under an index, or `pytorch_model.bin` of
any age (see `limbeck.weights.torch_file`), whole or under an index.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import (
    Architecture,
    architecture_from_hf,
    head_from_hf,
    num_labels_from_hf,
)
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.checkpoint import Checkpoint, Found, Other, naming_head
from limbeck.weights.names import NameTable, table_of
from limbeck.weights.safetensors_file import read_tensors
from limbeck.weights.torch_file import read_torch

__all__ = [
    "CONFIG_NAME",
    "WEIGHTS_NAME",
    "hf_checkpoint",
    "holds_hf",
    "name_tensors",
    "read_any_architecture",
    "read_architecture",
    "read_config",
    "read_folder_tensors",
    "read_hf",
]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

Tensors = dict[str, np.ndarray]

# In the order in which they are looked for: one file, or an index of several.
_READERS: dict[str, Callable[[Path], Tensors]] = {
    WEIGHTS_NAME: read_tensors,
    "pytorch_model.bin": read_torch,
}


def read_hf(directory: str | os.PathLike[str]) -> tuple[Architecture, Tensors]:
    """Reads a model folder.

    Returns:
      The shape, and every tensor by the file's own name and in the file's own dtype.

    Raises:
      UsageError: no such folder, an unknown family, or no weights in it.
      LimbeckError: a file is damaged.
    """
    return read_any_architecture(directory), read_folder_tensors(directory)


def read_folder_tensors(directory: str | os.PathLike[str]) -> Tensors:
    """Reads the tensors of a folder of any family, as `read_hf`.

    Raises:
      UsageError: no weights in it.
      LimbeckError: a file is damaged.
    """
    tensors: Tensors = {}
    for path, reader in _weight_files(Path(directory)):
        tensors.update(reader(path))
    return tensors


def hf_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint:
    """Reads a model folder under our names.

    Raises:
      UsageError: as `read_hf`, or tensors that contradict each other.
      LimbeckError: a file is damaged.
    """
    config = read_config(directory)
    architecture, tensors = read_hf(directory)
    return name_tensors(
        tensors,
        architecture,
        where=os.fspath(directory),
        head=head_from_hf(config),
        num_labels=num_labels_from_hf(config),
    )


def holds_hf(directory: str | os.PathLike[str]) -> bool:
    """Whether a folder holds weights of transformers, whatever its family."""
    return any(
        (Path(directory) / name).is_file() for file in _READERS for name in (file, _index(file))
    )


def read_architecture(directory: str | os.PathLike[str]) -> EncoderArchitecture:
    """Reads the shape of an encoder alone, from `config.json`.

    Raises:
      UsageError: no such folder, or no encoder of a known family.
      LimbeckError: the file is damaged.
    """
    architecture = read_any_architecture(directory)
    if not isinstance(architecture, EncoderArchitecture):
        raise UsageError(
            f"{Path(directory) / CONFIG_NAME}: {architecture.family} is a decoder; an encoder is "
            "expected here"
        )
    return architecture


def read_any_architecture(directory: str | os.PathLike[str]) -> Architecture:
    """Reads the shape alone, from `config.json`.

    Raises:
      UsageError: no such folder, or an unknown family.
      LimbeckError: the file is damaged.
    """
    config = read_config(directory)
    try:
        return architecture_from_hf(config)
    except LimbeckError as error:
        raise UsageError(f"{Path(directory) / CONFIG_NAME}: {error}") from error


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads `config.json` as it is.

    Raises:
      UsageError: no such folder, or no such file in it.
      LimbeckError: the file is damaged.
    """
    path = Path(directory) / CONFIG_NAME
    if not path.is_file():
        what = "not a model folder" if path.parent.is_dir() else "no such folder"
        raise UsageError(f"{directory}: {what} ({CONFIG_NAME} beside {WEIGHTS_NAME} is expected)")
    return _read_json(path)


class _Named(NamedTuple):
    origin: str
    values: np.ndarray


def name_tensors(
    tensors: Mapping[str, np.ndarray],
    architecture: Architecture,
    *,
    where: str,
    head: str | None = None,
    num_labels: int | None = None,
) -> Checkpoint:
    """Takes transformers' tensors, in whatever generation's spelling, under our names.

    Raises:
      LimbeckError: two tensors are the same one, or what must be tied is not.
    """
    table = table_of(architecture.family)
    named = _canonical(tensors, table, where=where)
    tied = table.tied if getattr(architecture, "tied", True) else {}
    _resolve_tied(named, tied, where=where)
    found: dict[str, Found] = {}
    others: dict[str, Other] = {}
    for name, (origin, values) in named.items():
        variables = [] if name in tied else table.variables_in(name)
        for variable, place in variables:
            part = (
                values if place.third is None else _third(values, place.third, f"{where}: {origin}")
            )
            found[variable] = Found(origin, part.T if place.transposed else part, place.transposed)
        if not variables:
            why = f"tied to {tied[name]}, and equal to it" if name in tied else None
            others[origin] = Other(name, values, why or table.why_constant(name))
    naming = head or naming_head(architecture.family, set(found))
    return Checkpoint(
        where=where,
        kind="hf",
        architecture=architecture,
        head=head,
        num_labels=num_labels,
        found=found,
        others=others,
        expected=lambda variable: _expected(table, variable, naming),
    )


def _canonical(
    tensors: Mapping[str, np.ndarray], table: NameTable, *, where: str
) -> dict[str, _Named]:
    named: dict[str, _Named] = {}
    for origin, values in tensors.items():
        name = table.canonical(origin)
        if name in named:
            raise LimbeckError(f"{where}: {named[name].origin} and {origin} are both {name}")
        named[name] = _Named(origin, values)
    return named


def _resolve_tied(named: dict[str, _Named], tied: Mapping[str, str], *, where: str) -> None:
    """Takes a copy for its original where only that is there; refuses one that differs."""
    for copy, original in tied.items():
        if copy not in named:
            continue
        if original not in named:
            named[original] = named.pop(copy)
        elif not np.array_equal(named[copy].values, named[original].values):
            raise UsageError(
                f"{where}: {named[copy].origin} differs from {named[original].origin}; only tied "
                "decoders are read"
            )


def _third(values: np.ndarray, third: int, what: str) -> np.ndarray:
    if values.shape[-1] % 3:
        raise LimbeckError(f"{what} has shape {values.shape}; queries, keys and values share it")
    width = values.shape[-1] // 3
    return values[..., third * width : (third + 1) * width]


def _expected(table: NameTable, variable: str, head: str) -> str:
    for candidate in (head, *table.heads):
        try:
            return table.place(variable, head=candidate).tensor
        except KeyError:
            continue
    return variable


def _index(file: str) -> str:
    return f"{file}.index.json"


def _weight_files(directory: Path) -> list[tuple[Path, Callable[[Path], Tensors]]]:
    for name, reader in _READERS.items():
        if (directory / name).is_file():
            return [(directory / name, reader)]
        if (directory / _index(name)).is_file():
            return [(file, reader) for file in _indexed(directory / _index(name))]
    raise UsageError(f"{directory}: no {' and no '.join(_READERS)} in it")


def _indexed(index: Path) -> list[Path]:
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise LimbeckError(f"{index}: no weight_map; fetch the folder again")
    # Only files of this folder, whatever the index says.
    files = [index.parent / Path(name).name for name in sorted(set(names.values()))]
    if lost := [file.name for file in files if not file.is_file()]:
        raise LimbeckError(f"{index.parent}: {lost[0]} is missing, which {index.name} names")
    return files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LimbeckError(f"{path}: not JSON: {error}; fetch the folder again") from error
    if not isinstance(value, dict):
        raise LimbeckError(f"{path}: a JSON object is expected, found {type(value).__name__}")
    return value
