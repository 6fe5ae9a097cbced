"""Models with the weights of a checkpoint, and where each of them came from."""

import os
from typing import Any, Literal, NamedTuple

import numpy as np

from limbeck.architectures.hf_config import Architecture
from limbeck.config.errors import UsageError
from limbeck.models.build import HeadName, empty
from limbeck.models.initialisation import start_value
from limbeck.models.names import named_variables
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.fit import MissingHead, fresh_parts, num_labels_for, wanted_shape
from limbeck.weights.heads import FAMILY_TITLES, HEAD_TITLES, PART_TITLES
from limbeck.weights.read import read_checkpoint
from limbeck.weights.report import LoadReport

__all__ = ["HeadInitialisation", "MissingHead", "load_model", "model_of"]

HeadInitialisation = Literal["identity", "random"]


def load_model(
    directory: str | os.PathLike[str],
    *,
    head: HeadName = "masked_lm",
    missing_head: MissingHead = "error",
    head_initialisation: HeadInitialisation = "identity",
    layers: tuple[int, ...] | None = None,
    architecture: Architecture | None = None,
    num_labels: int | None = None,
    strict: bool = True,
    seed: int = 0,
) -> tuple[Any, LoadReport]:
    """Makes a model with the weights of a checkpoint.

    Args:
      directory: whatever `read_checkpoint` takes.
      head: of the model, as in `limbeck.models.build`.
      missing_head: what to do where the checkpoint has no such head.
      head_initialisation: of a missing masked-LM head's transform: the identity where it is
        square, or as in `build`.
      layers: layers of the checkpoint to take, in the order given; 1 is the first, as 0 is the
        embeddings. None takes all.
      architecture: what the model must be; None accepts what is there. Dropout rates and
        `initializer_range` are taken from it.
      num_labels: of a classifier; None takes the checkpoint's.
      strict: whether a tensor without a place is an error; else it is listed as unused.
      seed: of what is drawn.

    Returns:
      The model, and where each of its variables and each tensor of the checkpoint went.

    Raises:
      UsageError: the checkpoint does not fit what was asked for.
      LimbeckError: a file is damaged.
    """
    checkpoint = read_checkpoint(directory)
    return model_of(
        checkpoint,
        head=head,
        missing_head=missing_head,
        head_initialisation=head_initialisation,
        layers=layers,
        architecture=architecture,
        num_labels=num_labels,
        strict=strict,
        seed=seed,
    )


def model_of(
    checkpoint: Checkpoint,
    *,
    head: HeadName,
    missing_head: MissingHead = "error",
    head_initialisation: HeadInitialisation = "identity",
    layers: tuple[int, ...] | None = None,
    architecture: Architecture | None = None,
    num_labels: int | None = None,
    strict: bool = True,
    seed: int = 0,
) -> tuple[Any, LoadReport]:
    """Makes a model of a checkpoint that was read; arguments as in `load_model`."""
    where = checkpoint.where
    shape = wanted_shape(where, checkpoint.architecture, layers=layers, wanted=architecture)
    fresh = fresh_parts(checkpoint, head, shape, missing_head)
    model = empty(
        shape,
        head=head,
        num_labels=num_labels_for(checkpoint, head, num_labels, fresh="classifier" in fresh),
        pooler="pooler/kernel" in checkpoint.found,
    )
    start = _Start(head_initialisation, seed, shape.initializer_range)
    taken, initialised = [], []
    used = set()
    for name, variable in named_variables(model).items():
        source = _source(name, layers)
        part = name.split("/", 1)[0]
        if fresh and (part in fresh or part == "pooler" and source not in checkpoint.found):
            initialised.append((name, _initialise(name, variable, start)))
            continue
        variable.assign(checkpoint.value(source, shape=tuple(variable.shape)))
        taken.append((name, checkpoint.found[source].origin))
        used.add(source)
    unused = _unused(checkpoint, used, head=head, layers=layers, strict=strict)
    return model, LoadReport(
        source=where, taken=tuple(taken), initialised=tuple(initialised), unused=unused
    )


class _Start(NamedTuple):
    kind: HeadInitialisation
    seed: int
    deviation: float


def _source(name: str, layers: tuple[int, ...] | None) -> str:
    """The checkpoint's variable for one of the model's."""
    if layers is None or "/layer_" not in name:
        return name
    body, _, rest = name.partition("/layer_")
    index, _, tail = rest.partition("/")
    return f"{body}/layer_{layers[int(index)] - 1}/{tail}"


def _initialise(name: str, variable: Any, start: _Start) -> str:
    dims = tuple(variable.shape)
    square = len(dims) == 2 and dims[0] == dims[1]
    if name == "head/transform/kernel" and start.kind == "identity" and square:
        variable.assign(np.eye(dims[0], dtype=np.float32))
        return "identity"
    variable.assign(start_value(name, dims, seed=start.seed, deviation=start.deviation))
    if name.endswith("/gamma"):
        return "ones"
    return "zeros" if len(dims) == 1 else f"random (deviation {start.deviation:g})"


def _unused(
    checkpoint: Checkpoint,
    used: set[str],
    *,
    head: HeadName,
    layers: tuple[int, ...] | None,
    strict: bool,
) -> tuple[tuple[str, str], ...]:
    """Every tensor that nothing was taken from, and why."""
    title = HEAD_TITLES[head]
    whole = f"{FAMILY_TITLES[checkpoint.architecture.family]} {title}"
    reasons: dict[str, str | None] = {}
    for name, found in checkpoint.found.items():
        if name not in used:
            reasons[found.origin] = _why_unused(name, checkpoint, title=title, layers=layers)
    reasons |= {origin: other.why for origin, other in checkpoint.others.items()}
    unknown = [origin for origin, why in reasons.items() if why is None]
    if unknown and strict:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise UsageError(
            f"{checkpoint.where}: no place for {', '.join(unknown[:3])}{more} in a {whole} of this "
            "config.json; pass strict=False to leave them out"
        )
    return tuple((origin, why or f"unknown to a {whole}") for origin, why in reasons.items())


def _why_unused(
    name: str, checkpoint: Checkpoint, *, title: str, layers: tuple[int, ...] | None
) -> str | None:
    part, _, rest = name.partition("/")
    if part in PART_TITLES:
        return f"{PART_TITLES[part]}; a {title} has none"
    if rest.startswith("layer_") and layers is not None:
        number = int(rest.removeprefix("layer_").split("/")[0]) + 1
        if number <= checkpoint.architecture.num_layers and number not in layers:
            return f"layer {number} was not chosen"
    return None
