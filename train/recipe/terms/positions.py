"""Terms that look at some of the positions that their families label. No TensorFlow."""

from collections.abc import Sequence
from typing import Any, Literal

from limbeck.config.errors import UsageError

__all__ = ["Positions", "check_positions", "list_at"]

Positions = Literal["labelled", "masked", "first"]
"""labelled: all positions of the family. masked: the masked tokens only. first: the first token of
each row only."""


def list_at(positions: str, families: Sequence[Any]) -> str:
    """The list of a batch that a term sums over: its families', or a part of it."""
    return str(families[0].list_name) if positions == "labelled" else positions


def check_positions(positions: str, names: Sequence[str], families: Sequence[Any]) -> None:
    """Refuses families of which the positions are no part.

    Raises:
      UsageError: begins with `positions`.
    """
    if positions == "labelled":
        return
    for name, family in zip(names, families, strict=True):
        signal = family.signal
        if signal.positions == positions:
            raise UsageError(
                f"positions is {positions}, and {name!r} labels just these; leave positions out"
            )
        if signal.positions != "all" or signal.kind == "task":
            raise UsageError(
                f"positions is {positions}, but {name!r} is {signal.kind} at positions "
                f"{signal.positions}; it needs a family of the vocabulary or of states with "
                "positions all"
            )
        if family.list_name != "all":
            raise UsageError(
                f"positions is {positions}, but {name!r} labels some rows only; it needs a family "
                "of all rows"
            )
