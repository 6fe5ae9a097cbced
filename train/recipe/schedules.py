"""How a term's weight changes over the steps of a run. No TensorFlow.

x is the share of the run that is done before a step, step / steps: 0 at the first step, just below
1 at the last.
"""

import bisect
import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["CosineWeight", "LinearDecay", "LinearGrowth", "StagedWeight", "WeightSchedule"]


@dataclass(frozen=True, kw_only=True)
class LinearDecay:
    """weight * (1 - x), as TextBrewer's linear_decay with weight 1."""

    schedule: Literal["linear_decay"] = "linear_decay"
    """What tells the schedules apart in a recipe."""
    weight: float = 1.0
    """At the first step."""

    def __post_init__(self) -> None:
        """Refuses a weight that is none."""
        _check(self.weight)

    def at(self, x: float) -> float:
        """The weight when a share x of the run is done."""
        return self.weight * (1.0 - x)


@dataclass(frozen=True, kw_only=True)
class LinearGrowth:
    """weight * x, as TextBrewer's linear_growth with weight 1."""

    schedule: Literal["linear_growth"] = "linear_growth"
    """What tells the schedules apart in a recipe."""
    weight: float = 1.0
    """What it grows towards."""

    def __post_init__(self) -> None:
        """Refuses a weight that is none."""
        _check(self.weight)

    def at(self, x: float) -> float:
        """The weight when a share x of the run is done."""
        return self.weight * x


@dataclass(frozen=True, kw_only=True)
class CosineWeight:
    """From `start` to `end` along half a cosine."""

    schedule: Literal["cosine"] = "cosine"
    """What tells the schedules apart in a recipe."""
    start: float = 1.0
    """At the first step."""
    end: float = 0.0
    """One step after the last."""

    def __post_init__(self) -> None:
        """Refuses weights that are none."""
        _check(self.start, self.end)

    def at(self, x: float) -> float:
        """The weight when a share x of the run is done."""
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * x))


@dataclass(frozen=True, kw_only=True)
class StagedWeight:
    """Constant between given shares of the run."""

    schedule: Literal["staged"] = "staged"
    """What tells the schedules apart in a recipe."""
    weights: tuple[float, ...]
    """One more than `until`."""
    until: tuple[float, ...]
    """Rising shares of the run, in (0, 1), at which the next weight begins."""

    def __post_init__(self) -> None:
        """Refuses weights that are none, and boundaries that are not."""
        _check(*self.weights)
        if len(self.weights) != len(self.until) + 1:
            raise ValueError(
                f"weights has {len(self.weights)} entries and until {len(self.until)}; expected "
                "one weight more"
            )
        edges = (0.0, *self.until, 1.0)
        if not all(low < high for low, high in zip(edges, edges[1:], strict=False)):
            raise ValueError(f"until is {self.until}; expected rising shares in (0, 1)")

    def at(self, x: float) -> float:
        """The weight when a share x of the run is done."""
        return self.weights[bisect.bisect_right(self.until, x)]


WeightSchedule = LinearDecay | LinearGrowth | CosineWeight | StagedWeight


def _check(*weights: float) -> None:
    """Refuses negative weights, and a schedule that is 0 throughout."""
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError(
            f"weight is {', '.join(map(str, weights))}; expected numbers from 0, not all 0"
        )
