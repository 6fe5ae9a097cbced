"""Declarations of teacher signals: what is kept of a teacher, at which positions, how encoded.

A signal is a small frozen value: it stands in an extraction recipe, in the settings block of its
family's manifest, and in what a teacher is asked for.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from limbeck.config.errors import LimbeckError
from limbeck.labels.signals.base import Group, LabelDims, Source, SourceKind, num_slots
from limbeck.labels.signals.inside import AttentionSignal, QkvSignal, TaskSignal
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.signals.states import FinalSignal, HiddenSignal, RelationsSignal, StateCodec

__all__ = [
    "AttentionSignal",
    "FinalSignal",
    "Group",
    "HiddenSignal",
    "LabelDims",
    "QkvSignal",
    "RelationsSignal",
    "Signal",
    "Source",
    "SourceKind",
    "SparseSignal",
    "StateCodec",
    "TaskSignal",
    "from_dict",
    "num_slots",
    "to_dict",
]

Signal = (
    SparseSignal
    | FinalSignal
    | HiddenSignal
    | RelationsSignal
    | QkvSignal
    | AttentionSignal
    | TaskSignal
)

_KINDS: Mapping[str, type[Any]] = {
    "sparse": SparseSignal,
    "final": FinalSignal,
    "hidden": HiddenSignal,
    "relations": RelationsSignal,
    "qkv": QkvSignal,
    "attention": AttentionSignal,
    "task": TaskSignal,
}


def to_dict(signal: Signal) -> dict[str, Any]:
    """The signal as JSON-able values, as it stands in a manifest; `from_dict` reads it back."""
    plain = dataclasses.asdict(signal)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def from_dict(plain: Mapping[str, Any], *, where: str = "signal") -> Signal:
    """Rebuilds a signal from `to_dict`'s values.

    Raises:
      LimbeckError: for an unknown kind, unknown or missing fields, or values out of range.
    """
    values = dict(plain)
    cls = _KINDS.get(values.get("kind", ""))
    if cls is None:
        known = ", ".join(_KINDS)
        raise LimbeckError(
            f"{where}: signal kind {values.get('kind')!r} is unknown; known are: {known}"
        )
    names = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - names):
        raise LimbeckError(f"{where}: unknown fields {unknown}; known are {sorted(names)}")
    if isinstance(values.get("temperatures"), list):
        values["temperatures"] = tuple(values["temperatures"])
    try:
        signal: Signal = cls(**values)
        return signal
    except (TypeError, ValueError) as error:
        raise LimbeckError(f"{where}: {error}") from error
