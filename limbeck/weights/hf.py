"""Masked LMs from and to model folders of transformers."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from limbeck.architectures.bert import BertArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.initialisation import start_value
from limbeck.models.masked_lm import MaskedLM, empty_masked_lm, named_variables
from limbeck.weights.bert_names import (
    HEAD_PREFIX,
    canonical_names,
    is_transposed,
    source_name,
    why_unused,
)
from limbeck.weights.export import export_hf
from limbeck.weights.hf_folder import read_hf
from limbeck.weights.report import LoadReport

__all__ = ["HeadInitialisation", "LoadReport", "export_hf", "load_masked_lm", "read_hf"]

HeadInitialisation = Literal["identity", "random"]

Named = Mapping[str, tuple[str, np.ndarray]]  # canonical name -> (name in the file, tensor)


def load_masked_lm(
    directory: str | os.PathLike[str],
    *,
    missing_head: Literal["error", "initialise"] = "error",
    head_initialisation: HeadInitialisation = "identity",
    layers: tuple[int, ...] | None = None,
    architecture: BertArchitecture | None = None,
    strict: bool = True,
    seed: int = 0,
) -> tuple[MaskedLM, LoadReport]:
    """Makes a model with the weights of a folder.

    Args:
      directory: a BERT folder, with a masked-LM head or the encoder alone.
      missing_head: what to do where there is no head.
      head_initialisation: of a missing head's transform: the identity, or as in `build_masked_lm`.
      layers: layers of the folder's model to take, in the order given; 1 is the first, as 0 is
        the embeddings. None takes all.
      architecture: what the model must be; None accepts what is there. Dropout rates and
        `initializer_range` are taken from it.
      strict: whether a tensor without a place is an error; else it is listed as unused.
      seed: of what is drawn.

    Returns:
      The model, and where each of its variables and each tensor of the folder went.

    Raises:
      UsageError: the folder or what is in it does not fit what was asked for.
      LimbeckError: a file is damaged.
    """
    where = os.fspath(directory)
    found, tensors = read_hf(directory)
    shape = _wanted_shape(where, found, layers=layers, wanted=architecture)
    named = canonical_names(tensors, where=where)
    headless = not any(name.startswith(HEAD_PREFIX) for name in named)
    if headless and missing_head == "error":
        raise UsageError(
            f"{where}: an encoder without a masked-LM head ({HEAD_PREFIX}*); set missing_head to "
            "initialise for a fresh head, which then has to be trained"
        )
    model = empty_masked_lm(shape)
    taken, initialised = [], []
    for name, variable in named_variables(model).items():
        if headless and name.startswith("head/"):
            how = _start_head(name, variable, kind=head_initialisation, seed=seed, shape=shape)
            initialised.append((name, how))
            continue
        source = source_name(name, layers=layers)
        variable.assign(_checked(where, named, source, name, tuple(variable.shape)))
        taken.append((name, named[source][0]))
    unused = _unused(where, named, {tensor for _, tensor in taken}, layers=layers, strict=strict)
    _check_tied(where, named)
    report = LoadReport(
        source=where, taken=tuple(taken), initialised=tuple(initialised), unused=unused
    )
    return model, report


def _wanted_shape(
    where: str,
    found: BertArchitecture,
    *,
    layers: tuple[int, ...] | None,
    wanted: BertArchitecture | None,
) -> BertArchitecture:
    if layers is not None:
        if not layers:
            raise UsageError(f"{where}: layers is empty; name at least one layer")
        for layer in layers:
            if not 1 <= layer <= found.num_layers:
                raise UsageError(
                    f"{where}: layer {layer} was chosen; there are 1 to {found.num_layers} "
                    "(0 is the embeddings, which always come along)"
                )
        found = dataclasses.replace(found, num_layers=len(layers))
    if wanted is None:
        return found
    if differences := found.differences(wanted):
        raise UsageError(f"{where}: not the architecture asked for: {'; '.join(differences)}")
    return wanted


def _checked(
    where: str, named: Named, source: str, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """The value of a variable, float32."""
    if source not in named:
        raise LimbeckError(f"{where}: tensor {source} is missing (for {name}); is it complete?")
    original, tensor = named[source]
    if tensor.dtype.kind in "iub":
        raise LimbeckError(f"{where}: {original} is {tensor.dtype}; floating point is expected")
    expected = shape[::-1] if is_transposed(name) else shape
    if tensor.shape != expected:
        raise LimbeckError(
            f"{where}: {original} has shape {tensor.shape}; {expected} is expected from config.json"
        )
    values = tensor.astype(np.float32)
    if not np.isfinite(values).all():
        raise LimbeckError(f"{where}: {original} holds NaN or infinity; the weights are damaged")
    return values.T if is_transposed(name) else values


def _start_head(
    name: str,
    variable: Any,
    *,
    kind: HeadInitialisation,
    seed: int,
    shape: BertArchitecture,
) -> str:
    dims = tuple(variable.shape)
    if name == "head/transform/kernel" and kind == "identity":
        variable.assign(np.eye(dims[0], dtype=np.float32))
        return "identity"
    variable.assign(start_value(name, dims, seed=seed, deviation=shape.initializer_range))
    if name.endswith("/gamma"):
        return "ones"
    return "zeros" if len(dims) == 1 else f"random (deviation {shape.initializer_range:g})"


def _unused(
    where: str,
    named: Named,
    taken: set[str],
    *,
    layers: tuple[int, ...] | None,
    strict: bool,
) -> tuple[tuple[str, str], ...]:
    unused, unknown = [], []
    for name, (original, _) in named.items():
        if original in taken:
            continue
        why = why_unused(name)
        if why is None and layers is not None and name.startswith("encoder.layer."):
            number = int(name.split(".")[2]) + 1
            why = f"layer {number} was not chosen" if number not in layers else None
        if why is None:
            unknown.append(original)
        unused.append((original, why or "unknown to a BERT masked LM"))
    if unknown and strict:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise UsageError(
            f"{where}: no place for {', '.join(unknown[:3])}{more} in a BERT masked LM of this "
            "config.json; pass strict=False to leave them out"
        )
    return tuple(unused)


def _check_tied(where: str, named: Named) -> None:
    for copy, kept in (
        (f"{HEAD_PREFIX}decoder.weight", "embeddings.word_embeddings.weight"),
        (f"{HEAD_PREFIX}decoder.bias", f"{HEAD_PREFIX}bias"),
    ):
        if copy in named and not np.array_equal(named[copy][1], named[kept][1]):
            raise UsageError(f"{where}: {copy} differs from {kept}; only tied decoders are read")
