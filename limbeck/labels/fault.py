"""What is wrong with labels, and at which position; the caller knows the record it belongs to."""

from dataclasses import dataclass

__all__ = ["Fault"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The first broken rule among some positions."""

    position: int
    """Index of the bad position among those that were looked at."""
    reason: str
    """What is wrong with it."""
