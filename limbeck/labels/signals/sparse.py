"""Declaration of sparse logits; `limbeck.labels.sparse` says what the arrays mean."""

# K kept ids per position, E entries at most (head and sample), G temperatures in the grid

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.config.errors import LimbeckError
from limbeck.labels.signals.base import (
    Group,
    LabelDims,
    Source,
    check_choice,
    check_signal,
    num_slots,
    record_fields,
)
from limbeck.records.examples import ids_dtype
from limbeck.records.layout import Field, Layout

__all__ = ["SparseSignal"]

# exp(-65504 / T) is 0 in float32 up to here, so a clamped fp16 logit never changes a target.
MAX_TEMPERATURE = 500.0
MIN_THRESHOLD = 1 / 4096  # up to 4,096 entries a position; below, `final` is smaller and exact


@dataclass(frozen=True, kw_only=True)
class SparseSignal:
    """The largest logits of a position and what is known of all the others.

    Forms: top k; top k and all ids of a probability (`threshold`); the same with a sample of the
    tail (`sample`); each with a grid of temperatures or lean, for one temperature only.
    """

    source: ClassVar[Source] = Source(kind="logits")

    kind: Literal["sparse"] = "sparse"
    """What tells the signals apart in a recipe or manifest."""
    k: int = 0
    """Ids kept at each position whatever their probability, largest logits first, ties by id; at
    least 1, and 1 where a threshold is given without it."""
    threshold: float | None = None
    """Keep also every id whose probability, as a mean over `temperatures`, is at least this; null
    keeps k only."""
    sample: bool = False
    """Draw the other ids, with that probability / threshold: an unbiased target at every
    temperature of the grid."""
    form: Literal["grid", "lean"] = "grid"
    """grid: logits, and the log-mass outside the head at every temperature. lean: what one
    temperature needs and no more: no zmax, no true label's logit, no logits of a sample."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Grid at which the log-mass outside the kept ids is stored; targets exist only there. Exactly
    one for the lean form."""
    positions: Group = "masked"
    """Where: the masked positions, every real token, or the first token only."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(float(t) for t in self.temperatures))
        if self.k == 0 and self.threshold is not None:
            object.__setattr__(self, "k", 1)
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(
                f"k must be a positive integer, or left out beside a threshold, got {self.k!r}"
            )
        check_signal(self, kind="sparse", allowed=("masked", "all", "first"))
        check_choice("form", self.form, ("grid", "lean"))
        self._check_temperatures()
        self._check_threshold()

    @property
    def is_ragged(self) -> bool:
        """Whether positions have unlike numbers of entries, so that records are packed bytes."""
        return self.threshold is not None

    @property
    def max_entries(self) -> int:
        """E: the most entries, of head and sample together, that a position can have."""
        if self.threshold is None:
            return self.k
        # Each id of the head but the k has at least the threshold, each draw stands for one.
        return self.k + int(1 / self.threshold + 1e-6) + 1

    @property
    def needs_draws(self) -> bool:
        """Whether encoding wants random words (`limbeck.labels.draws`)."""
        return self.sample

    @property
    def needs_true_ids(self) -> bool:
        """Whether encoding wants the ids that were masked."""
        return self.form == "grid" and self.positions == "masked"

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.sparse`.

        Raises:
          LimbeckError: when k is larger than the vocabulary.
        """
        if self.k > dims.vocab_size:
            raise LimbeckError(
                f"k is {self.k} but the teacher's vocabulary has {dims.vocab_size} ids"
            )
        slots, grid = num_slots(self.positions, dims), len(self.temperatures)
        if self.is_ragged:
            return Layout(fields=(*record_fields(), Field("payload", "bytes", ())))
        fields = [*record_fields()]
        if self.form == "grid":
            fields.append(Field(name="zmax", dtype="float32", shape=(slots,)))
        fields += [
            Field(name="ids", dtype=ids_dtype(dims.vocab_size), shape=(slots, self.k)),
            Field(name="logits", dtype="float16", shape=(slots, self.k)),
            Field(name="log_tail", dtype="float32", shape=(slots, grid)),
        ]
        if self.needs_true_ids:  # elsewhere nobody knows what is true
            fields.append(Field(name="true_logit", dtype="float32", shape=(slots,)))
        return Layout(fields=tuple(fields))

    def _check_temperatures(self) -> None:
        if not self.temperatures:
            raise ValueError("temperatures is empty; give at least one, such as [1, 2, 4]")
        if any(b <= a for a, b in zip(self.temperatures, self.temperatures[1:], strict=False)):
            raise ValueError(f"temperatures must rise, got {list(self.temperatures)}")
        for value in self.temperatures:
            if not (math.isfinite(value) and 0.0 < value <= MAX_TEMPERATURE):
                raise ValueError(f"temperature {value} is outside (0, {MAX_TEMPERATURE:g}]")
        if self.form == "lean" and len(self.temperatures) != 1:
            raise ValueError(
                f"a lean form has one temperature, got {list(self.temperatures)}; take form: grid "
                "for several"
            )

    def _check_threshold(self) -> None:
        if self.threshold is None:
            if self.sample:
                raise ValueError("sample needs a threshold, such as 0.01")
        elif isinstance(self.threshold, bool) or not MIN_THRESHOLD <= self.threshold <= 1.0:
            raise ValueError(
                f"threshold must be a probability from {MIN_THRESHOLD:.3g} to 1, got "
                f"{self.threshold!r}"
            )
