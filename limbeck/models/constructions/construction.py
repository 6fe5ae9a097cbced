"""A student in the making: its shape, the tensors that it has so far, and where each is from."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.architectures import EncoderArchitecture

__all__ = ["Construction", "begin"]


@dataclass(frozen=True, kw_only=True)
class Construction:
    """What every construction takes and returns."""

    architecture: EncoderArchitecture
    """The shape."""

    tensors: Mapping[str, np.ndarray]
    """Float32 values by the names of `limbeck.models.named_variables`; what a model of this shape
    has beyond them starts at random."""

    origins: Mapping[str, str]
    """For every one of `tensors`, what it was made from."""

    lines: tuple[str, ...] = ()
    """What each construction did, one or more lines each."""

    frozen: tuple[str, ...] = ()
    """Names of variables that training leaves alone."""

    kept_ids: np.ndarray | None = None
    """The teacher's id of every id of a trimmed vocabulary, ascending int64; None for all."""

    def with_lines(self, *lines: str) -> "Construction":
        """The same with more to say."""
        return dataclasses.replace(self, lines=(*self.lines, *lines))

    def report(self, variables: Iterable[str] | None = None) -> str:
        """What was done, and under it a line for every variable: where it comes from.

        Args:
          variables: all of the model's, so that those at random are listed too.
        """
        names = list(self.tensors) if variables is None else list(variables)
        table = [
            f"  {name}  <-  {self.origins.get(name, 'random')}"
            + (" (frozen)" if name in self.frozen else "")
            for name in names
        ]
        return "\n".join([*self.lines, *table])


def begin(architecture: EncoderArchitecture, tensors: Mapping[str, np.ndarray]) -> Construction:
    """A construction that has done nothing yet: the student is the teacher.

    Args:
      architecture: the teacher's.
      tensors: the teacher's variables by name.
    """
    values = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    return Construction(
        architecture=architecture, tensors=values, origins={name: name for name in values}
    )
