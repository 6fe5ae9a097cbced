"""From numbers to places on paper: linear and logarithmic scales, round ticks, short numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Scale", "ScaleKind", "number_text", "scale_for"]

ScaleKind = Literal["linear", "log"]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps [low, high] to [start, stop]."""

    low: float
    """Smallest number shown."""
    high: float
    """Largest number shown; above `low`."""
    start: float
    """Where `low` lies, in pixels."""
    stop: float
    """Where `high` lies."""
    kind: ScaleKind = "linear"
    """Whether equal distances are equal differences or equal ratios."""

    def __call__(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Returns places in pixels; NaN stays NaN."""
        numbers, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.kind == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                numbers = np.log(numbers)
            low, high = math.log(low), math.log(high)
        return self.start + (numbers - low) / (high - low) * (self.stop - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Returns at most `most` round numbers in [low, high], ascending."""
        found = _log_ticks(self.low, self.high, most) if self.kind == "log" else []
        return found if len(found) > 1 else _linear_ticks(self.low, self.high, most)


def scale_for(
    values: npt.ArrayLike,
    *,
    start: float,
    stop: float,
    kind: ScaleKind = "linear",
    limits: tuple[float, float] | None = None,
    whole: bool = False,
) -> Scale:
    """Returns a scale that shows all finite values (on a log scale: all above 0).

    Args:
      values: what will be drawn.
      start: where the smallest lies.
      stop: where the largest lies.
      kind: linear or log.
      limits: (low, high) instead of what the values ask for.
      whole: whether a linear scale begins and ends at a round number.
    """
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers) & ((numbers > 0) | (kind == "linear"))]
    low, high = limits or (
        (float(numbers.min()), float(numbers.max())) if len(numbers) else (1.0, 2.0)
    )
    if not low < high:  # one value: give it some room on both sides
        low, high = (low / 2, low * 2) if kind == "log" else (low - 0.5, low + 0.5)
    if whole and kind == "linear" and limits is None:
        for _ in range(4):  # a wider range may ask for a larger step
            step = _step(low, high, 5)
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low=low, high=high, start=start, stop=stop, kind=kind)


def number_text(value: float) -> str:
    """Returns a number for people: `0.25`, `1,200`, `35k`, `2e-6`."""
    if not math.isfinite(value):
        return "none" if math.isnan(value) else f"{value:g}".replace("inf", "\N{INFINITY}")
    size = abs(value)
    if size >= 9999.5:
        for unit, suffix in _SUFFIXES:
            if size >= unit * 0.9995:
                return f"{_plain(value / unit)}{suffix}"
    if size and size < 0.0009995:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return _plain(value)


def _plain(value: float) -> str:
    """Three significant digits, thousands kept whole."""
    size = abs(value)
    decimals = min(5, max(0, 2 - math.floor(math.log10(size * 1.0005)))) if size else 0
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    step = _step(low, high, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _step(low: float, high: float, most: int) -> float:
    """The smallest round step of which at most `most` multiples lie in [low, high]."""
    power = 10.0 ** math.floor(math.log10((high - low) / max(most - 1, 1)))
    steps = [power * step for step in (*_STEPS, 20.0)]
    for step in steps:
        if math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) < most:
            return step
    return steps[-1]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    inside: Sequence[float] = ()
    for digits in ((1, 2, 5), (1, 3), (1,)):
        inside = [
            digit * 10.0**power
            for power in range(first, last + 1)
            for digit in digits
            if low * (1 - 1e-9) <= digit * 10.0**power <= high * (1 + 1e-9)
        ]
        if len(inside) <= most:
            return list(inside)
    every = math.ceil(len(inside) / most)
    return list(inside)[::every]
