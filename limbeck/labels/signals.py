"""Declarations of teacher signals: what is kept of a teacher, at which positions, how encoded.

A signal is a small frozen value: it stands in an extraction recipe, in the settings block of its
family's manifest, and in what a teacher is asked for. The arrays behind it are described by
`layout`; `limbeck.labels.sparse` and `limbeck.labels.hidden` say what they mean.
"""

# S padded sequence length of a record, P slots for masked positions, V vocabulary, D hidden width
# K kept ids per position, G temperatures in the grid

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import LimbeckError
from limbeck.records.examples import ids_dtype
from limbeck.records.layout import DIGEST, KEY, Field, Layout

__all__ = ["HiddenSignal", "Signal", "SparseSignal", "from_dict", "to_dict"]

# exp(-65504 / T) is 0 in float32 up to here, so a clamped fp16 logit never changes a target.
MAX_TEMPERATURE = 500.0


@dataclass(frozen=True, kw_only=True)
class SparseSignal:
    """The largest logits of each masked position and the exact mass of all the others."""

    kind: Literal["sparse"] = "sparse"
    """What tells the signals apart in a recipe or manifest."""
    k: int
    """Kept ids per position, by logit descending and id ascending on ties."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Grid at which the log-mass outside the kept ids is stored; targets exist only there."""
    positions: Literal["masked"] = "masked"
    """Where: the masked positions of the record."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(float(t) for t in self.temperatures))
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"k must be a positive integer, got {self.k!r}")
        _check_choice("kind", self.kind, ("sparse",))
        _check_choice("positions", self.positions, ("masked",))
        if not self.temperatures:
            raise ValueError("temperatures is empty; give at least one, such as [1, 2, 4]")
        if any(b <= a for a, b in zip(self.temperatures, self.temperatures[1:], strict=False)):
            raise ValueError(f"temperatures must rise, got {list(self.temperatures)}")
        for value in self.temperatures:
            if not (math.isfinite(value) and 0.0 < value <= MAX_TEMPERATURE):
                raise ValueError(f"temperature {value} is outside (0, {MAX_TEMPERATURE:g}]")

    @property
    def digest_covers_positions(self) -> bool:
        """Whether the record's input digest includes its masked positions."""
        return True

    def num_slots(self, *, seq_length: int, max_predictions: int) -> int:
        """Padded number of labelled positions a record."""
        return max_predictions

    def layout(
        self, *, seq_length: int, max_predictions: int, vocab_size: int, hidden_dim: int
    ) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.sparse`.

        Raises:
          LimbeckError: when k is larger than the vocabulary.
        """
        if self.k > vocab_size:
            raise LimbeckError(f"k is {self.k} but the teacher's vocabulary has {vocab_size} ids")
        slots, grid = max_predictions, len(self.temperatures)
        return Layout(
            fields=(
                *_record_fields(),
                Field(name="zmax", dtype="float32", shape=(slots,)),
                Field(name="ids", dtype=ids_dtype(vocab_size), shape=(slots, self.k)),
                Field(name="logits", dtype="float16", shape=(slots, self.k)),
                Field(name="log_tail", dtype="float32", shape=(slots, grid)),
                Field(name="true_logit", dtype="float32", shape=(slots,)),
            )
        )


@dataclass(frozen=True, kw_only=True)
class HiddenSignal:
    """The states that leave one layer: 0 is the embeddings, L what transformers numbers L."""

    kind: Literal["hidden"] = "hidden"
    """What tells the signals apart in a recipe or manifest."""
    layer: int
    """0 for the embeddings, else the 1-based layer, as in transformers' `hidden_states[layer]`."""
    positions: Literal["masked", "all", "first"] = "all"
    """Where: the masked positions, every real token, or the first token only."""
    dtype: Literal["float16", "float32"] = "float16"
    """How a component is stored; a state that overflows is refused, never clipped."""

    def __post_init__(self) -> None:
        if isinstance(self.layer, bool) or not isinstance(self.layer, int) or self.layer < 0:
            raise ValueError(f"layer must be an integer from 0 (embeddings), got {self.layer!r}")
        _check_choice("kind", self.kind, ("hidden",))
        _check_choice("positions", self.positions, ("masked", "all", "first"))
        _check_choice("dtype", self.dtype, ("float16", "float32"))

    @property
    def digest_covers_positions(self) -> bool:
        """Whether the record's input digest includes its masked positions."""
        return self.positions == "masked"

    def num_slots(self, *, seq_length: int, max_predictions: int) -> int:
        """Padded number of labelled positions a record."""
        return {"masked": max_predictions, "all": seq_length, "first": 1}[self.positions]

    def layout(
        self, *, seq_length: int, max_predictions: int, vocab_size: int, hidden_dim: int
    ) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.hidden`."""
        slots = self.num_slots(seq_length=seq_length, max_predictions=max_predictions)
        states = Field(name="states", dtype=self.dtype, shape=(slots, hidden_dim))
        return Layout(fields=(*_record_fields(), states))


Signal = SparseSignal | HiddenSignal

_KINDS: Mapping[str, type[SparseSignal] | type[HiddenSignal]] = {
    "sparse": SparseSignal,
    "hidden": HiddenSignal,
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
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise LimbeckError(f"{where}: {error}") from error


def _record_fields() -> tuple[Field, Field, Field]:
    return KEY, DIGEST, Field(name="num_positions", dtype="uint16", shape=())


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
