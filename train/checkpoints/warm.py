"""What a stage of a run takes over from the one before: weights, and where the data goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck.config.errors import UsageError

__all__ = ["WarmStart", "fresh_maps", "take_over"]


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Where a stage starts from; equal on all ranks but for the tensors."""

    origin: dict[str, Any]
    """The checkpoint that the weights are of: `stage`, `step`, `sha256`."""

    position: int
    """Of the first batch in the order of the rows."""

    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of that checkpoint by name, on the leader."""

    carries: Callable[[str], bool] = lambda name: True
    """Whether a projection of this name is the same map in both stages."""

    @property
    def text(self) -> str:
        """Where the weights come from, in a few words."""
        origin = self.origin
        return f"{origin['stage']} after step {origin['step']} ({origin['sha256'][:12]})"


def fresh_maps(named: Mapping[str, Any], warm: WarmStart) -> tuple[str, ...]:
    """Names of the projections that start anew; on the leader, which has the tensors."""
    names = (name for name in named if name.startswith("projection/"))
    fresh = (name for name in names if not _goes_on(name, named[name], warm))
    return tuple(dict.fromkeys(name.split("/")[1] for name in fresh))


def take_over(named: Mapping[str, Any], warm: WarmStart) -> None:
    """Fills a new student from the stage before; its optimiser stays new.

    Every variable of the model is taken over, and every projection that is there under the same
    name with the same shape.

    Args:
      named: `Student.named_variables`.
      warm: with tensors.

    Raises:
      UsageError: a variable of the model is not there, or has another shape.
    """
    found = {}
    for name, variable in named.items():
        there = warm.tensors.get(name)
        if name.startswith("projection/"):
            if _goes_on(name, variable, warm):
                found[name] = there
        elif not _fits(there, variable):
            what = "nothing" if there is None else f"one of shape {there.shape}"
            raise UsageError(
                f"stage {warm.origin['stage']}: its checkpoint has {what} for {name!r} of shape "
                f"{tuple(variable.shape)}: all stages train one student"
            )
        else:
            found[name] = there
    for name, values in found.items():
        named[name].value.assign(values)


def _goes_on(name: str, variable: Any, warm: WarmStart) -> bool:
    """Whether a variable of a projection is that of the stage before."""
    return _fits(warm.tensors.get(name), variable) and warm.carries(name.split("/")[1])


def _fits(there: np.ndarray | None, variable: Any) -> bool:
    return there is not None and there.shape == tuple(variable.shape)
