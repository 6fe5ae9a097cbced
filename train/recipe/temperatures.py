"""How a term's temperature follows the student, position by position. No TensorFlow.

Both give each entry a temperature of its own, after Li et al. 2019 (arXiv:1911.07471), as
TextBrewer 0.2.1 implements them. With a weight w of the entry and the mean of w over all entries of
the term in the global batch:

    tau_entry = temperature + (mean(w) - w) beta,       not below `floor`

so the mean temperature is `temperature`, and the entries that need sharper targets get a lower one.
TextBrewer has no floor: its temperatures can reach 0 and below.
"""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["CwsmTemperature", "FlswTemperature", "TemperatureSchedule", "check_temperature"]


@dataclass(frozen=True, kw_only=True)
class FlswTemperature:
    """Focal-loss-style weights: w = (1 - cosine of the student's and the teacher's logits)^gamma.

    A student that differs from its teacher gets a lower temperature.
    """

    schedule: Literal["flsw"] = "flsw"
    """What tells the schedules apart in a recipe."""
    temperature: float
    """Mean over the batch, before the floor."""
    beta: float = 1.0
    """How far temperatures follow the weights."""
    gamma: float = 1.0
    """Power of the difference."""
    floor: float = 1.0
    """No temperature is lower."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        _check(self.temperature, beta=self.beta, floor=self.floor)
        check_temperature(self.gamma, name="gamma")


@dataclass(frozen=True, kw_only=True)
class CwsmTemperature:
    """Confidence-weighted: w = 1 / (the student's largest probability + 1e-3), from 1 to 1,000.

    An unsure student gets a lower temperature.
    """

    schedule: Literal["cwsm"] = "cwsm"
    """What tells the schedules apart in a recipe."""
    temperature: float
    """Mean over the batch, before floor and ceiling."""
    beta: float = 1.0
    """How far temperatures follow the weights."""
    floor: float = 1.0
    """No temperature is lower."""
    ceiling: float | None = None
    """No temperature is higher; null: no such bound. Needed with a sparse family, whose grid
    ends."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        _check(self.temperature, beta=self.beta, floor=self.floor)
        if self.ceiling is not None and not (
            math.isfinite(self.ceiling) and self.ceiling >= self.temperature
        ):
            raise ValueError(
                f"ceiling is {self.ceiling:g}, below the temperature {self.temperature:g}"
            )


TemperatureSchedule = FlswTemperature | CwsmTemperature


def check_temperature(value: float, *, name: str = "temperature") -> None:
    """Refuses what is no positive number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a positive number")


def _check(temperature: float, *, beta: float, floor: float) -> None:
    check_temperature(temperature)
    check_temperature(beta, name="beta")
    check_temperature(floor, name="floor")
    if floor > temperature:
        raise ValueError(f"floor is {floor:g}, above the temperature {temperature:g}")
