"""Students of fewer layers: chosen ones, or averages of groups."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.constructions.choice import chosen_layers, layer_groups
from limbeck.models.constructions.construction import Construction

__all__ = ["average_layers", "choose_layers", "with_layers"]

_LAYER = re.compile(r"(.+/layer_)(\d+)(/.+)")


def with_layers(architecture: EncoderArchitecture, num_layers: int) -> EncoderArchitecture:
    """The same shape with another number of layers."""
    return dataclasses.replace(architecture, num_layers=num_layers)


def choose_layers(teacher: Construction, choice: str | Sequence[int]) -> Construction:
    """Takes layers as they are, and everything that is no layer with them.

    Args:
      teacher: to take from. Where all its layers share one layer's weights only their number
        changes.
      choice: see `chosen_layers`.

    Raises:
      UsageError: layers that are not there.
    """
    layers = chosen_layers(choice, teacher.architecture.num_layers)
    named = choice if isinstance(choice, str) else "as listed"
    line = f"layers: {_pairs([str(layer) for layer in layers])} of "
    line += f"{teacher.architecture.num_layers} ({named})"
    return _regrouped(teacher, tuple((layer,) for layer in layers)).with_lines(line)


def average_layers(teacher: Construction, groups: int | Sequence[Sequence[int]]) -> Construction:
    """Makes every layer the mean of a group of layers, tensor by tensor.

    A mean of weights is a start for training and computes nothing that is known beforehand, unless
    the layers of a group are equal: then it is that layer.

    Args:
      teacher: to take from.
      groups: see `layer_groups`.

    Raises:
      UsageError: groups that do not fit, or layers that share one layer's weights.
    """
    if teacher.architecture.shared_layers:
        raise UsageError("average_layers: all layers share their weights; take fewer with layers")
    chosen = layer_groups(groups, teacher.architecture.num_layers)
    sources = ["+".join(map(str, group)) for group in chosen]
    line = f"average_layers: {_pairs(sources)} of {teacher.architecture.num_layers} (means)"
    return _regrouped(teacher, chosen).with_lines(line)


def _regrouped(teacher: Construction, groups: tuple[tuple[int, ...], ...]) -> Construction:
    """Layer i of the result is the mean of the layers in groups[i]."""
    architecture = with_layers(teacher.architecture, len(groups))
    if teacher.architecture.shared_layers:
        return dataclasses.replace(teacher, architecture=architecture)
    tensors: dict[str, np.ndarray] = {}
    origins: dict[str, str] = {}
    for name, parts in _sources(list(teacher.tensors), groups).items():
        tensors[name] = _mean([teacher.tensors[part] for part in parts])
        sources = [teacher.origins[part] for part in parts]
        origins[name] = sources[0] if len(sources) == 1 else f"mean of {', '.join(sources)}"
    frozen = [
        name
        for name, parts in _sources(list(teacher.tensors), groups).items()
        if set(parts) <= set(teacher.frozen)
    ]
    return dataclasses.replace(
        teacher, architecture=architecture, tensors=tensors, origins=origins, frozen=tuple(frozen)
    )


def _sources(names: list[str], groups: tuple[tuple[int, ...], ...]) -> dict[str, list[str]]:
    """Variable of the student -> variables of the teacher, in the order of named_variables."""
    before: list[str] = []
    parts: list[tuple[str, str]] = []
    after: list[str] = []
    for name in names:
        if match := _LAYER.fullmatch(name):
            if match[2] == "0":
                parts.append((match[1], match[3]))
        else:
            (after if parts else before).append(name)
    layered = {
        f"{stem}{i}{rest}": [f"{stem}{layer - 1}{rest}" for layer in group]
        for i, group in enumerate(groups)
        for stem, rest in parts
    }
    return {**{n: [n] for n in before}, **layered, **{n: [n] for n in after}}


def _mean(tensors: list[np.ndarray]) -> np.ndarray:
    if len(tensors) == 1:
        return tensors[0]
    return np.stack(tensors).mean(axis=0, dtype=np.float64).astype(np.float32)


def _pairs(sources: list[str]) -> str:
    return ", ".join(f"{i} <- {source}" for i, source in enumerate(sources, start=1))
