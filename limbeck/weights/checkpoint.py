"""What every reader of checkpoints returns: tensors under our names, in our orientation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from limbeck.architectures.hf_config import Architecture
from limbeck.config.errors import LimbeckError
from limbeck.weights.names import table_of

__all__ = ["Checkpoint", "Found", "Kind", "Other", "naming_head"]

Kind = Literal["hf", "tensorflow", "run", "keras"]


class Found(NamedTuple):
    """A variable's values in a checkpoint."""

    origin: str
    """The tensor's name in its file."""
    values: np.ndarray
    """As the variable is shaped, in the file's dtype."""
    transposed: bool = False
    """Whether the file holds the transpose."""


class Other(NamedTuple):
    """A tensor that is no variable of ours."""

    name: str
    """Its name in the newest spelling."""
    values: np.ndarray
    """As it is there."""
    why: str | None
    """What it is, where no model needs it; None where nothing is known of it."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything in a checkpoint; every tensor exactly once."""

    where: str
    """The path, for messages."""
    kind: Kind
    """Its format."""
    architecture: Architecture
    """From its configuration."""
    head: str | None = None
    """The head that its configuration names, if any."""
    num_labels: int | None = None
    """How many labels its configuration names, if any."""
    found: Mapping[str, Found]
    """Our variable -> its values."""
    others: Mapping[str, Other] = field(default_factory=dict)
    """Name in its file -> the rest."""
    expected: Callable[[str], str]
    """Our variable -> what its tensor would be called."""

    def has_head(self, parts: set[str]) -> bool:
        """Whether any of these parts of a head (`classifier`, `head`, ...) is there."""
        return any(name.split("/", 1)[0] in parts for name in self.found)

    def value(self, variable: str, *, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A variable's float32 values, checked.

        Args:
          variable: by our name.
          shape: that it must have; None for any.

        Raises:
          LimbeckError: it is missing, of another shape or kind, or not finite; names the tensor.
        """
        if variable not in self.found:
            raise LimbeckError(
                f"{self.where}: tensor {self.expected(variable)} is missing (for {variable}); is "
                "it complete?"
            )
        origin, values, transposed = self.found[variable]
        if values.dtype.kind in "iub":
            raise LimbeckError(
                f"{self.where}: {origin} is {values.dtype}; floating point is expected"
            )
        if shape is not None and values.shape != shape:
            there, expected = (
                (values.shape[::-1], shape[::-1]) if transposed else (values.shape, shape)
            )
            raise LimbeckError(
                f"{self.where}: {origin} has shape {there}; {expected} is expected from config.json"
            )
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise LimbeckError(
                f"{self.where}: {origin} holds NaN or infinity; the weights are damaged"
            )
        return values


def naming_head(family: str, variables: set[str]) -> str:
    """A head of the family whose names cover all head variables among these."""
    table = table_of(family)
    parts = {name for name in variables if table.is_head(name)}
    for head in table.heads:
        try:
            for name in parts:
                table.place(name, head=head)
        except KeyError:
            continue
        return head
    return next(iter(table.heads))
