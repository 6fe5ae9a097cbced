"""Numbers of an audit, and their lines."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Measured", "measured_lines"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of a family's codec, over the positions of a sample."""

    quantity: str
    """What, with its unit."""
    mean: float
    """Over the positions."""
    worst: float
    """The largest; the smallest of a ratio of signal to noise."""


def measured_lines(name: str, found: Sequence[Measured], *, sample: int) -> list[str]:
    """The same as text: a heading and a line a quantity."""
    lines = [f"codec error of {name} on {sample} records:"]
    for one in found:
        lines.append(f"  {one.quantity}: mean {one.mean:.3e}, worst {one.worst:.3e}")
    return lines
