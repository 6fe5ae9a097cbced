"""Terms between logits of the student and of teachers. No TensorFlow."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from limbeck.config.errors import UsageError
from limbeck.labels.signals import SparseSignal, TaskSignal
from train.recipe.temperatures import FlswTemperature, TemperatureSchedule, check_temperature
from train.recipe.term import Reach, StudentFacts, Term, Wants, register
from train.recipe.terms.logit_checks import (
    check_full,
    check_head_not_given,
    check_together,
    check_vocabulary,
)
from train.recipe.terms.positions import Positions, check_positions, list_at
from train.recipe.terms.sparse_checks import check_sparse

__all__ = ["Combination", "DistributionTerm", "LogitTerm"]

L = TypeVar("L", bound="LogitTerm")

Combination = Literal["logits", "probabilities"]


@dataclass(frozen=True, kw_only=True)
class LogitTerm(Term):
    """What terms on logits share: which teachers, which head, which temperature."""

    signal: str | None = None
    """Family of `data.labels` that it learns from."""

    signals: tuple[str, ...] = ()
    """In place of `signal`: families of several teachers, which are averaged; `final` or `task`,
    at the same positions. (Beside `signal`, what that says.)"""

    teacher_weights: tuple[float, ...] | None = None
    """Of `signals`, in their order, divided by their sum; null: equal."""

    positions: Positions = "labelled"
    """labelled: all positions of the family. masked, first: of a family that labels all tokens, the
    masked ones or the first of each row."""

    head: str | None = None
    """Task head of the student that learns from a `task` family; null: its only one."""

    temperature: float | TemperatureSchedule = 1.0
    """tau, divides both models' logits: a number, or a schedule that gives each entry its own."""

    probability_shift: bool = False
    """Whether the teacher's largest logit and that of the true label change places; needs all
    logits (`task`, or `final` at masked positions). Entries without a label stay as they are."""

    def __post_init__(self) -> None:
        """Refuses teachers, weights and temperatures that contradict each other."""
        super().__post_init__()
        if self.signal is not None and self.signals not in ((), (self.signal,)):
            raise ValueError("signals has no effect beside signal; give one of the two")
        if self.signal is None and len(self.signals) < 2:
            raise ValueError("signal is missing: name a family, or several teachers' as signals")
        if len(set(self.signals)) < len(self.signals):
            raise ValueError(f"signals names a family twice: {', '.join(self.signals)}")
        if self.signal is not None:
            object.__setattr__(self, "signals", (self.signal,))
        self._check_weights()
        if isinstance(self.temperature, int | float):
            check_temperature(self.temperature)

    def _check_weights(self) -> None:
        weights = self.teacher_weights
        if weights is None:
            return
        if self.signal is not None:
            raise ValueError("teacher_weights has no effect with one teacher")
        if len(weights) != len(self.signals):
            raise ValueError(
                f"teacher_weights has {len(weights)} entries and signals {len(self.signals)}"
            )
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise ValueError(f"teacher_weights is {list(weights)}; they must be positive numbers")

    @property
    def teacher_shares(self) -> tuple[float, ...]:
        """Weights of the teachers that add up to 1, in the order of `signals`."""
        weights = self.teacher_weights or (1.0,) * len(self.signals)
        return tuple(weight / sum(weights) for weight in weights)

    @property
    def reach(self) -> Reach:
        """A schedule compares each entry with the mean of the batch."""
        return "additive" if isinstance(self.temperature, int | float) else "batch"

    def settled(self: L, student: StudentFacts) -> L:
        """With the name of the student's only head."""
        if self.head is not None or len(student.heads) != 1:
            return self
        return dataclasses.replace(self, head=next(iter(student.heads)))

    def wants(self, families: Sequence[Any]) -> Wants:
        """Logits of the vocabulary, or of the head."""
        if isinstance(families[0].signal, TaskSignal):
            return Wants(head=self.head)
        return Wants(logits=True)

    def list_name(self, families: Sequence[Any]) -> str:
        """That of its families, or of the part that `positions` says."""
        return list_at(self.positions, families)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses teachers that are not alike, positions they lack, entries without a true label.

        The last is what `probability_shift` needs.
        """
        check_together(self.signals, families)
        check_positions(self.positions, self.signals, families)
        signal = families[0].signal
        at_masked = "masked" in (signal.positions, self.positions)
        has_labels = signal.kind == "task" or (signal.kind == "final" and at_masked)
        if self.probability_shift and not has_labels:
            raise UsageError(
                "probability_shift needs all logits at entries whose true label is known, a task "
                f"family or a final one at masked positions; {self.signals[0]!r} is {signal.kind} "
                f"at positions {signal.positions}"
            )

    def shifted_to(self, families: Sequence[Any]) -> str | None:
        """Field of the examples whose labels `probability_shift` looks at; None for none."""
        if not self.probability_shift or not isinstance(families[0].signal, TaskSignal):
            return None
        return "class_id" if families[0].signal.positions == "first" else "tags"


@register
@dataclass(frozen=True, kw_only=True)
class DistributionTerm(LogitTerm):
    """The student's distribution against the teacher's, both at a temperature."""

    loss: Literal["kl", "soft_ce"]
    """kl: KL(teacher || student). soft_ce: cross-entropy to the teacher's distribution."""

    scale_by_temperature_squared: bool = True
    """Whether the term carries tau^2; false reproduces systems that leave it out."""

    missing_mass: Literal["bucket", "truncated", "renormalised", "sampled"] | None = None
    """What happens to the teacher's probability outside the ids that a sparse family kept; null:
    bucket, unless the family has a sample, where it must be said."""

    approximate_temperature: bool = False
    """Whether a temperature off the grid of a sparse family is interpolated."""

    combine: Combination | None = None
    """What is averaged over `signals`; null: logits, where there are several."""

    def __post_init__(self) -> None:
        """Refuses settings that would be ignored."""
        super().__post_init__()
        if self.combine is not None and self.signal is not None:
            raise ValueError("combine has no effect with one teacher")
        if self.combine == "probabilities" and isinstance(self.temperature, FlswTemperature):
            raise ValueError(
                "combine is probabilities, but temperature flsw compares logits; take combine: "
                "logits, or cwsm"
            )

        if self.missing_mass == "sampled":
            self._check_sampled_settings()

    def _check_sampled_settings(self) -> None:
        """Refuses what a weighted sample cannot tell, whatever the family."""
        if self.loss == "kl":
            raise ValueError(
                "missing_mass is sampled, but a sample does not tell the teacher's entropy, which "
                "loss kl has in it; take soft_ce, whose gradient is the same"
            )
        if not isinstance(self.temperature, int | float):
            raise ValueError(
                "missing_mass is sampled, and a sample has weights at the temperatures of its grid "
                "only; give one of these in place of a schedule"
            )
        if self.approximate_temperature:
            raise ValueError(
                "approximate_temperature has no effect beside missing_mass: sampled, which has "
                "weights at the temperatures of its grid only"
            )

    def scale_at(self, x: float) -> float:
        """The weight, times tau^2 where it carries it; of a schedule's, each entry has its own."""
        if isinstance(self.temperature, int | float) and self.scale_by_temperature_squared:
            return self.weight_at(x) * self.temperature**2
        return self.weight_at(x)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals, another vocabulary, and temperatures outside the grid."""
        super().check(families, student)
        signal, name = families[0].signal, self.signals[0]
        if isinstance(signal, SparseSignal):
            check_head_not_given(self.head, name, signal.kind)
            check_vocabulary(self.loss, name, student)
            check_sparse(self, signal, name)
            return
        kinds = ("sparse", "final", "task")
        check_full(self.loss, self.signals, families, student, head=self.head, kinds=kinds)
        for setting in ("missing_mass", "approximate_temperature"):
            if getattr(self, setting):
                raise UsageError(
                    f"{setting} has no effect: {name!r} is {signal.kind} and tells the whole "
                    "distribution at any temperature"
                )
