"""Narrower students: heads, neurons and hidden units in order of importance, and the first taken.

`limbeck.models.constructions.importance` defines the scores. A neuron or head whose norm is 0 adds
nothing to the states (all activations are 0 at 0), so cutting it changes nothing. Hidden units
have no such case: a layer norm divides by their number. Units stand in the order of their scores,
the highest first and equal ones as they were; at full size that is a permutation, and computes
what the teacher computes.
"""

# L layers (1 where they share weights), D hidden, H heads, A width of a head, F neurons

import dataclasses

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.constructions.axes import take_along
from limbeck.models.constructions.construction import Construction
from limbeck.models.constructions.importance import Importance, importance_of_weights

__all__ = ["narrow", "narrowed_shape"]


def narrowed_shape(
    architecture: EncoderArchitecture,
    *,
    hidden_dim: int | None = None,
    intermediate_dim: int | None = None,
) -> EncoderArchitecture:
    """The shape of a narrower student with heads as wide as they were.

    Raises:
      UsageError: wider than the teacher, or part of a head.
    """
    hidden = architecture.hidden_dim if hidden_dim is None else hidden_dim
    inner = architecture.intermediate_dim if intermediate_dim is None else intermediate_dim
    for name, new, old in (
        ("hidden_dim", hidden, architecture.hidden_dim),
        ("intermediate_dim", inner, architecture.intermediate_dim),
    ):
        if not 1 <= new <= old:
            raise UsageError(f"width: {name} is {new}; the teacher's is {old}")
    if hidden % architecture.head_dim:
        raise UsageError(
            f"width: hidden_dim {hidden} is no multiple of the head width "
            f"{architecture.head_dim}; whole heads are cut, as many as states get narrower"
        )
    return dataclasses.replace(
        architecture,
        hidden_dim=hidden,
        num_heads=hidden // architecture.head_dim,
        intermediate_dim=inner,
    )


def narrow(
    teacher: Construction,
    *,
    hidden_dim: int | None = None,
    intermediate_dim: int | None = None,
    importance: Importance | None = None,
) -> Construction:
    """Keeps the most important heads, neurons and hidden units, in the order of importance.

    Args:
      teacher: to take from.
      hidden_dim: width of the states; the number of heads goes with it. None for all.
      intermediate_dim: neurons of every layer. None for all.
      importance: scores; None for those of the weights.

    Raises:
      UsageError: wider than the teacher, or part of a head.
    """
    old = teacher.architecture
    new = narrowed_shape(old, hidden_dim=hidden_dim, intermediate_dim=intermediate_dim)
    scores = importance_of_weights(teacher) if importance is None else importance
    tensors: dict[str, np.ndarray] = dict(teacher.tensors)
    for layer in range(old.num_stored_layers):
        prefix = f"encoder/layer_{layer}/"
        heads = _first(scores.heads[layer], new.num_heads)
        components = (heads[:, None] * old.head_dim + np.arange(old.head_dim)).ravel()
        tensors = take_along(tensors, "heads", components, old, prefix=prefix)
        neurons = _first(scores.neurons[layer], new.intermediate_dim)
        tensors = take_along(tensors, "neurons", neurons, old, prefix=prefix)
    tensors = take_along(tensors, "hidden", _first(scores.hidden, new.hidden_dim), old)
    origins = {
        name: teacher.origins[name] + _cut(teacher.tensors[name], tensor)
        for name, tensor in tensors.items()
    }
    by = "weights (L2)" if importance is None else "measured importance"
    line = (
        f"width: hidden {old.hidden_dim} -> {new.hidden_dim}, heads {old.num_heads} -> "
        f"{new.num_heads} of {old.head_dim}, neurons {old.intermediate_dim} -> "
        f"{new.intermediate_dim}, most important first by {by}"
    )
    return dataclasses.replace(
        teacher, architecture=new, tensors=tensors, origins=origins
    ).with_lines(line)


def _first(scores: np.ndarray, count: int) -> np.ndarray:
    """The indices of the highest scores, highest first, equal ones as they stand."""
    return np.argsort(-scores, kind="stable")[:count]


def _cut(before: np.ndarray, after: np.ndarray) -> str:
    if before.shape == after.shape:
        return ", reordered" if not np.array_equal(before, after) else ""
    return f", {' x '.join(map(str, after.shape))} of {' x '.join(map(str, before.shape))}"
