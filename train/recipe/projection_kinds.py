"""Names of the kinds of trained maps, so that a recipe is checked without TensorFlow."""

import re

from limbeck.config.errors import UsageError

__all__ = ["check_kind", "check_map_name", "declare_kind"]

# Begins with a letter: maps without a name of their own are called by the number of their term.
_NAME = re.compile(r"[A-Za-z][\w-]*", re.ASCII)

_declared = ["linear", "linear_relu", "linear_tanh"]


def declare_kind(kind: str) -> None:
    """Makes recipes know a name; `train.projections.projection` does it for the class it ties.

    Raises:
      ValueError: none, which stands for no map.
    """
    if not kind or kind == "none":
        raise ValueError(f"a projection cannot be named {kind!r}: that stands for no projection")
    if kind not in _declared:
        _declared.append(kind)


def check_kind(kind: str) -> None:
    """Refuses a name that is neither `none` nor declared.

    Raises:
      UsageError: begins with `projection`.
    """
    if kind != "none" and kind not in _declared:
        raise UsageError(f"projection is {kind!r}, which is none of none, {', '.join(_declared)}")


def check_map_name(name: str | None) -> None:
    """Refuses a `projection_name` that could not be told from those of maps without one.

    Raises:
      ValueError: begins with `projection_name`.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(
            f"projection_name is {name!r}; it must begin with a letter and have letters, digits, _ "
            "and - only"
        )
