"""Whether a checkpoint is what was asked for; found out before TensorFlow is loaded."""

import dataclasses
from typing import Literal

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.hf_config import Architecture
from limbeck.config.errors import UsageError
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.heads import HEAD_TITLES, parts_of

__all__ = ["MissingHead", "fresh_parts", "num_labels_for", "wanted_shape"]

MissingHead = Literal["error", "initialise"]


def wanted_shape(
    where: str,
    found: Architecture,
    *,
    layers: tuple[int, ...] | None,
    wanted: Architecture | None,
) -> Architecture:
    """The architecture of the model to be.

    Args:
      where: the checkpoint, for messages.
      found: its architecture.
      layers: of it to take, from 1; None for all.
      wanted: what it must be; None for anything.

    Raises:
      UsageError: layers that are not there, or another architecture than wanted.
    """
    if layers is not None:
        if not layers:
            raise UsageError(f"{where}: layers is empty; name at least one layer")
        if getattr(found, "shared_layers", False):
            raise UsageError(f"{where}: its layers share their weights; layers cannot be chosen")
        for layer in layers:
            if not 1 <= layer <= found.num_layers:
                raise UsageError(
                    f"{where}: layer {layer} was chosen; there are 1 to {found.num_layers} "
                    "(0 is the embeddings, which always come along)"
                )
        found = dataclasses.replace(found, num_layers=len(layers))
    if wanted is None:
        return found
    if type(found) is not type(wanted):
        raise UsageError(f"{where}: a {found.family}; a {wanted.family} was asked for")
    if differences := found.differences(wanted):  # type: ignore[arg-type]
        raise UsageError(f"{where}: not the architecture asked for: {'; '.join(differences)}")
    return wanted


def fresh_parts(
    checkpoint: Checkpoint, head: str, shape: Architecture, missing_head: MissingHead
) -> set[str]:
    """The parts of a head that are to be initialised, since the checkpoint has nothing of them.

    Args:
      checkpoint: that was read.
      head: of the model to be.
      shape: of the model to be.
      missing_head: whether there may be any.

    Raises:
      UsageError: there are some and may not; or a head that the family cannot have.
    """
    decoder = isinstance(shape, DecoderArchitecture)
    if decoder != (head in ("decoder", "causal_lm")):
        needed = "an encoder" if decoder else "a decoder"
        raise UsageError(
            f"{checkpoint.where}: head {head!r} needs {needed}, and {shape.family} is none"
        )
    parts = parts_of(head) - ({"head"} if getattr(shape, "tied", False) else set())
    fresh = {part for part in parts if not checkpoint.has_head({part})}
    if fresh and missing_head == "error":
        what = "a decoder" if decoder else "an encoder"
        title = HEAD_TITLES[head].replace(" ", "-")
        names = sorted(_head_prefix(checkpoint, part) for part in fresh)
        raise UsageError(
            f"{checkpoint.where}: {what} without a {title} head ({', '.join(names)}); "
            "set missing_head to initialise for a fresh head, which then has to be trained"
        )
    return fresh


def _head_prefix(checkpoint: Checkpoint, part: str) -> str:
    """What a head's tensors are called in the checkpoint, such as `cls.predictions.*`."""
    names = {
        "head": "head/output_bias" if checkpoint.architecture.family != "llama" else "head/kernel",
        "replaced": "replaced/dense/kernel",
    }
    name = checkpoint.expected(names.get(part, f"{part}/kernel"))
    stem = name.replace("/", ".").rpartition(".")[0]
    return f"{stem}.*" if stem else name


def num_labels_for(checkpoint: Checkpoint, head: str, wanted: int | None, *, fresh: bool) -> int:
    """Outputs of a classifier, which tensor, configuration and wish must agree on.

    Args:
      checkpoint: that was read.
      head: of the model to be.
      wanted: what was asked for; None for nothing.
      fresh: whether the classifier is to be initialised.

    Raises:
      UsageError: they do not agree.
      LimbeckError: half a classifier is there.
    """
    if "classifier" not in parts_of(head):
        return 2
    if fresh:
        return wanted or checkpoint.num_labels or 2
    there = int(checkpoint.value("classifier/kernel").shape[-1])
    origin = checkpoint.found["classifier/kernel"].origin
    for number, whose in ((checkpoint.num_labels, "config.json"), (wanted, "num_labels")):
        if number is not None and number != there:
            raise UsageError(
                f"{checkpoint.where}: {origin} has {there} outputs and {whose} says {number}"
            )
    return there
