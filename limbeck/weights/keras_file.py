"""Keras files of our models: `.keras` (shape and weights) and `.weights.h5` (weights alone).

A `.keras` file is a zip archive whose `config.json` holds our architecture and head; it is read
without Keras' own deserialiser, which can be made to import and call things. Beside a
`.weights.h5` a `config.json` as transformers writes it says what the weights are of.
"""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import Architecture, head_from_hf, num_labels_from_hf
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.checkpoint import Checkpoint, Found
from limbeck.weights.hf_folder import read_any_architecture, read_config

__all__ = ["CLASS_NAME", "holds_keras", "keras_checkpoint"]

CLASS_NAME = "limbeck>Transformer"
"""What a `.keras` file of ours calls its model."""

_WEIGHTS = ".weights.h5"


def holds_keras(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a file with one of Keras' suffixes."""
    return os.fspath(path).endswith((".keras", _WEIGHTS)) and Path(path).is_file()


def keras_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a file under our names.

    Raises:
      UsageError: not one of ours, or a `.weights.h5` without its `config.json`.
      LimbeckError: the file is damaged.
    """
    alone = os.fspath(path).endswith(_WEIGHTS)
    saved = _beside(path) if alone else _inside(path)
    return Checkpoint(
        where=os.fspath(path),
        kind="keras",
        architecture=saved.architecture,
        head=saved.head,
        num_labels=saved.num_labels,
        found={name: Found(name, values) for name, values in _variables(path, saved).items()},
        expected=lambda variable: variable,
    )


class _Saved(NamedTuple):
    """What a file says of its model."""

    architecture: Architecture
    head: str
    num_labels: int | None
    pooler: bool = True


def _beside(path: str | os.PathLike[str]) -> _Saved:
    directory = Path(path).parent
    if not (directory / "config.json").is_file():
        raise UsageError(f"{path}: weights alone; a config.json is expected beside them")
    config = read_config(directory)
    head = head_from_hf(config)
    if head is None:
        raise UsageError(f"{directory / 'config.json'}: architectures names no head of ours")
    return _Saved(read_any_architecture(directory), head, num_labels_from_hf(config))


def _inside(path: str | os.PathLike[str]) -> _Saved:
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise LimbeckError(f"{path}: {damaged} is damaged; export it again")
            saved = json.loads(archive.read("config.json"))
    except LimbeckError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, RuntimeError) as error:
        raise LimbeckError(f"{path}: not a sound .keras file ({error}); export it again") from error
    if not isinstance(saved, dict) or saved.get("registered_name") != CLASS_NAME:
        raise UsageError(
            f"{path}: not a model of ours; `limbeck.weights convert --to keras` makes them"
        )
    try:
        config = saved["config"]
        shape: dict[str, Any] = config["architecture"]
        decoder = shape["family"] in ("gpt2", "llama")
        kind = DecoderArchitecture if decoder else EncoderArchitecture
        return _Saved(kind(**shape), str(config["head"]), config["num_labels"], config["pooler"])
    except (KeyError, TypeError, ValueError) as error:
        raise LimbeckError(f"{path}: config.json: {error!r}; export it again") from error


def _weights_inside(path: str | os.PathLike[str]) -> BinaryIO:
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read("model.weights.h5"))


def _num_datasets(file: str | os.PathLike[str] | BinaryIO) -> int:
    """Arrays in a file of weights, an optimiser's left aside."""
    import h5py  # type: ignore[import-untyped]

    names: list[str] = []
    with h5py.File(file, "r") as content:
        content.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
    return sum(not name.startswith("optimizer/") for name in names)


def _variables(path: str | os.PathLike[str], saved: _Saved) -> dict[str, np.ndarray]:
    from limbeck.models.names import named_variables
    from limbeck.weights.keras_model import SavedTransformer, quiet_keras

    transformer = SavedTransformer(**saved._asdict())
    alone = os.fspath(path).endswith(_WEIGHTS)
    try:
        there = _num_datasets(path if alone else _weights_inside(path))
        expected = len(transformer.model.variables)
        if there != expected:  # Keras passes over what it has no place for
            raise ValueError(f"{there} variables are there and {expected} are expected")
        with quiet_keras():
            (transformer.model if alone else transformer).load_weights(path)
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        first = str(error).splitlines()[0][:200]
        raise LimbeckError(
            f"{path}: not the weights of a {saved.architecture.family} with {saved.head} ({first})"
        ) from error
    return {name: np.asarray(v) for name, v in named_variables(transformer.model).items()}
