"""Folders with Google's TensorFlow checkpoints of BERT, ELECTRA and ALBERT.

Such a folder has `NAME.index` and `NAME.data-00000-of-00001`, a `bert_config.json` (of ALBERT and
ELECTRA too, or under their names) and a `vocab.txt`. TensorFlow is loaded to read it.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.architectures.hf_config import architecture_from_hf
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.checkpoint import Checkpoint, Found, Other
from limbeck.weights.names import NameTable, table_of

__all__ = ["CONFIG_NAMES", "holds_tensorflow", "tensorflow_checkpoint"]

CONFIG_NAMES = {
    "bert": "bert_config.json",
    "electra": "electra_config.json",
    "albert": "albert_config.json",
}
"""What we write; any of the names is read for every family."""

_OPTIMISER = re.compile(r"(.*/)?(adam_[mv]|m|v|lamb_[mv]|beta[12]_power|global_step)(_\d+)?")


def holds_tensorflow(directory: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a TensorFlow checkpoint."""
    return Path(directory).is_dir() and any(Path(directory).glob("*.index"))


def tensorflow_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint:
    """Reads a folder under our names.

    Raises:
      UsageError: no configuration, more than one checkpoint, or a family without names.
      LimbeckError: a file is damaged.
    """
    prefix = _prefix(Path(directory))
    tensors = _read(prefix)
    config = _config(Path(directory))
    family = str(config.get("model_type") or _family(tensors))
    try:
        architecture = architecture_from_hf({**config, "model_type": family})
    except LimbeckError as error:
        raise UsageError(f"{directory}: configuration: {error}") from error
    table = table_of(family)
    if table.tensorflow is None:
        raise UsageError(f"{directory}: no TensorFlow checkpoints of {family} are known")
    generator = family == "electra" and _is_generator(tensors, architecture.hidden_dim)
    found: dict[str, Found] = {}
    others: dict[str, Other] = {}
    for origin, values in tensors.items():
        name = _electra_name(origin, generator=generator) if family == "electra" else origin
        match = None if name is None else table.tensorflow_variable(name)
        if match is None:
            others[origin] = Other(origin, values, _why(origin, name))
            continue
        variable, place = match
        found[variable] = Found(origin, values.T if place.transposed else values, place.transposed)
    return Checkpoint(
        where=str(prefix),
        kind="tensorflow",
        architecture=architecture,
        found=found,
        others=others,
        expected=lambda variable: _expected(table, variable),
    )


def _prefix(directory: Path) -> Path:
    found = sorted(path.with_suffix("") for path in directory.glob("*.index"))
    if len(found) == 1:
        return found[0]
    state = directory / "checkpoint"  # which of several is the newest, as TensorFlow writes it
    text = state.read_text(errors="replace") if state.is_file() else ""
    match = re.search(r'^model_checkpoint_path: "(.+)"$', text, re.MULTILINE)
    named = directory / Path(match[1]).name if match else None
    if named in found:
        return named  # type: ignore[return-value]
    names = ", ".join(path.name for path in found[:4])
    raise UsageError(f"{directory}: several checkpoints ({names}); keep one in the folder")


def _read(prefix: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        return {name: np.asarray(reader.get_tensor(name)) for name in sorted(shapes)}
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError, TypeError) as error:
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise LimbeckError(
            f"{prefix}: not a sound TensorFlow checkpoint ({first}); fetch it again"
        ) from error


def _config(directory: Path) -> dict[str, Any]:
    for name in (*CONFIG_NAMES.values(), "config.json"):
        path = directory / name
        if not path.is_file():
            continue
        try:
            config = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise LimbeckError(f"{path}: not JSON: {error}; fetch it again") from error
        if not isinstance(config, dict):
            raise LimbeckError(f"{path}: a JSON object is expected")
        return config
    raise UsageError(f"{directory}: a TensorFlow checkpoint, but no {CONFIG_NAMES['bert']}")


def _family(tensors: Mapping[str, np.ndarray]) -> str:
    if any(name.startswith(("electra/", "discriminator_predictions/")) for name in tensors):
        return "electra"
    albert = any("/embedding_hidden_mapping_in/" in name for name in tensors)
    return "albert" if albert else "bert"


def _is_generator(tensors: Mapping[str, np.ndarray], hidden_dim: int) -> bool:
    """Whether the configuration is the generator's: one file holds both of ELECTRA's models."""
    name = "encoder/layer_0/attention/self/query/kernel"
    widths = {
        body: tensors[f"{body}/{name}"].shape[0] for body in _BODIES if f"{body}/{name}" in tensors
    }
    return widths.get("electra") != hidden_dim and widths.get("generator") == hidden_dim


_BODIES = ("electra", "generator")


def _electra_name(origin: str, *, generator: bool) -> str | None:
    """A tensor's name in the model that is read; None for one of the other model.

    Both models share the embeddings, which are under `electra/embeddings`.
    """
    shared = origin.startswith("electra/embeddings/")
    if not generator:
        return None if origin.startswith(("generator/", "generator_predictions/")) else origin
    if origin.startswith(("electra/", "discriminator_predictions/")) and not shared:
        return None
    return re.sub(r"^generator/", "electra/", origin)


def _why(origin: str, name: str | None) -> str | None:
    if _OPTIMISER.fullmatch(origin):
        return "the optimiser's"
    return "of ELECTRA's other model" if name is None else None


def _expected(table: NameTable, variable: str) -> str:
    try:
        return table.tensorflow_place(variable).tensor
    except KeyError:
        return variable
