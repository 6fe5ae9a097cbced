"""Which layers of a teacher a student takes. Layers count from 1, as 0 is the embeddings.

Published choices, and what they are here:

* DistilBERT (Sanh et al., 2019, arXiv 1910.01108): its scripts take layers 0, 2, 4, 7, 9, 11 of
  twelve, counting from 0. Here they are 1, 3, 5, 8, 10, 12: `distilbert`.
* PKD (Sun et al., 2019, arXiv 1908.09355) *starts* its students from the first layers (`first-6`)
  and compares states at every k-th layer ("skip") or the last ones ("last"). `pkd-skip-6` of
  twelve layers is 2, 4, ..., 12 and `pkd-last-6` is 7, ..., 12: the same layers as a start. (The
  paper leaves the last pair, 12 to 6, out of its state loss.)
* TinyBERT (Jiao et al., 2020, arXiv 1909.10351) maps layer m of N to layer m * L / N of L, which
  `evenly-N` does, rounded where N does not divide L.
"""

# L layers of the teacher, K layers of the student

import re
from collections.abc import Sequence

import numpy as np

from limbeck.config.errors import UsageError

__all__ = ["LAYER_CHOICES", "check_choice", "chosen_layers", "layer_groups"]

LAYER_CHOICES = (
    "first-K",
    "last-K",
    "evenly-K",
    "every-other",
    "distilbert",
    "pkd-skip-K",
    "pkd-last-K",
)
"""What a choice may say, with a number for K; or it is a list of layers."""

_DISTILBERT = (1, 3, 5, 8, 10, 12)  # 0, 2, 4, 7, 9, 11 where the first layer is 0
_COUNTED = re.compile(r"(first|last|evenly|pkd-skip|pkd-last)-([1-9]\d{0,3})")


def check_choice(choice: str | Sequence[int]) -> None:
    """Refuses what is no choice for any teacher.

    Raises:
      ValueError: an unknown word, an empty list, or a layer before the first.
    """
    if isinstance(choice, str):
        if choice not in ("every-other", "distilbert") and not _COUNTED.fullmatch(choice):
            known = ", ".join(LAYER_CHOICES)
            raise ValueError(
                f"layers is {choice!r}; expected a list of layers or one of {known}, with a "
                "number for K"
            )
    elif not choice:
        raise ValueError("layers is empty; name at least one layer")
    elif bad := [layer for layer in choice if layer < 1]:
        raise ValueError(f"layers names layer {bad[0]}; the first is 1 (0 is the embeddings)")


def chosen_layers(choice: str | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """The layers that a choice means for a teacher of L layers.

    Args:
      choice: one of LAYER_CHOICES, such as "first-3"; or a list of layers from 1, in the order
        that the student has them in.
      num_layers: L.

    Raises:
      UsageError: the teacher has not these layers, or the choice is meant for another number.
    """
    try:
        check_choice(choice)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not isinstance(choice, str):
        if bad := [layer for layer in choice if layer > num_layers]:
            raise UsageError(f"layers names layer {bad[0]}; there are 1 to {num_layers}")
        return tuple(choice)
    if choice == "every-other":
        return tuple(range(1, num_layers + 1, 2))
    if choice == "distilbert":
        if num_layers != 12:
            raise UsageError(
                f"layers: distilbert chooses 6 layers of 12, and there are {num_layers}; name "
                "the layers, or take evenly-K"
            )
        return _DISTILBERT
    return _counted(choice, num_layers)


def layer_groups(
    groups: int | Sequence[Sequence[int]], num_layers: int
) -> tuple[tuple[int, ...], ...]:
    """The groups of a teacher's layers that are averaged, one group a layer of the student.

    Args:
      groups: their number, for neighbouring layers in groups as even as can be, the longer ones
        first; or the groups, of layers from 1.
      num_layers: L.

    Raises:
      UsageError: more groups than layers, an empty group, or a layer that is not there.
    """
    if isinstance(groups, int):
        if not 1 <= groups <= num_layers:
            raise UsageError(
                f"average_layers asks for {groups} groups; there are {num_layers} layers"
            )
        parts = np.array_split(np.arange(1, num_layers + 1), groups)
        return tuple(tuple(part.tolist()) for part in parts)
    if not groups or not all(groups):
        raise UsageError("average_layers has an empty group; name at least one layer in each")
    for layer in (layer for group in groups for layer in group):
        if not 1 <= layer <= num_layers:
            raise UsageError(f"average_layers names layer {layer}; there are 1 to {num_layers}")
    return tuple(tuple(group) for group in groups)


def _counted(choice: str, num_layers: int) -> tuple[int, ...]:
    match = _COUNTED.fullmatch(choice)
    assert match is not None  # checked before
    kind, count = match[1], int(match[2])
    if count > num_layers:
        raise UsageError(f"layers is {choice}, and there are only {num_layers} layers")
    if kind == "first":
        return tuple(range(1, count + 1))
    if kind in ("last", "pkd-last"):
        return tuple(range(num_layers - count + 1, num_layers + 1))
    if kind == "pkd-skip" and num_layers % count:
        raise UsageError(
            f"layers is {choice}, but {count} does not divide {num_layers}; take evenly-{count}, "
            "which rounds, or name the layers"
        )
    # Halves go up; distinct, since the steps are at least 1.
    return tuple((2 * m * num_layers + count) // (2 * count) for m in range(1, count + 1))
