"""Outputs that several recipes share: taken when they are whole and as ours would be, else removed.

What an output is made of is on record before its first command begins, so that half a run of other
inputs is known for what it is.
"""

import shutil
from collections.abc import Mapping
from typing import TypeVar

from launch.recipes.identity import identify
from launch.recipes.lineage import Lineage, Output
from launch.recipes.plan import Planned
from limbeck.config.errors import LimbeckError

__all__ = ["record_of", "take_shared"]

T = TypeVar("T")


def take_shared(step: Planned, expected: Output) -> Output | None:
    """What a recipe made of a shared step; what cannot be gone on with is removed, and said so.

    Returns:
      None where it has to be made, or gone on with.
    """
    directory = step.output.parent
    if not directory.exists():
        return None
    try:
        record = record_of(step)
    except LimbeckError:
        why = "its lineage is damaged"
    else:
        why = _reason_against(step, expected, record)
        if not why:
            return _entry(record.outputs)
    print(f"    {directory}: {why}; making it anew", flush=True)
    shutil.rmtree(directory)
    return None


def record_of(step: Planned) -> Lineage:
    """The lineage beside a shared output.

    Raises:
      LimbeckError: it is damaged.
    """
    return Lineage(step.output.parent, recipe="(shared)")


def _reason_against(step: Planned, expected: Output, record: Lineage) -> str:
    """Why what is there cannot be taken, or gone on with; empty if it can."""
    made, begun = _entry(record.outputs), _entry(record.begun)
    if made is not None:
        if made.parents != expected.parents:
            return "it was made of other inputs"
        is_same = identify(step.output) == made.id
        return "" if is_same else "it was changed or damaged since it was made"
    if begun is None:
        return "it is not known of what it was made"
    return "" if begun.output.parents == expected.parents else "it was begun with other inputs"


def _entry(entries: Mapping[str, T]) -> T | None:
    """The only one, whatever the recipe that made it calls the step."""
    return next(iter(entries.values()), None)
