"""A term between the spans that student and teacher mark. No TensorFlow."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.config.errors import UsageError
from limbeck.labels.signals import TaskSignal
from train.recipe.heads import resolve_head
from train.recipe.temperatures import check_temperature
from train.recipe.term import StudentFacts, Term, Unit, Wants, register

__all__ = ["SpanDistributionTerm"]

SPAN = ("span",)


@register
@dataclass(frozen=True, kw_only=True)
class SpanDistributionTerm(Term):
    """Where a span begins and where it ends: distributions over the tokens of a row."""

    unit: ClassVar[Unit] = "rows"

    loss: Literal["span_kl", "span_soft_ce"]
    """span_kl: KL(teacher || student). span_soft_ce: cross-entropy to the teacher's."""

    signal: str
    """Family of `data.labels` that it learns from: task, at every token, with 2 logits."""

    head: str | None = None
    """Span head of the student; null: its only one."""

    temperature: float = 1.0
    """tau, divides both models' logits."""

    scale_by_temperature_squared: bool = True
    """Whether the term carries tau^2."""

    def __post_init__(self) -> None:
        """Refuses a temperature that is none."""
        super().__post_init__()
        check_temperature(self.temperature)

    @property
    def signals(self) -> tuple[str, ...]:
        """The one."""
        return (self.signal,)

    def scale_at(self, x: float) -> float:
        """The weight, times tau^2 where it carries it."""
        square = self.temperature**2 if self.scale_by_temperature_squared else 1.0
        return self.weight_at(x) * square

    def settled(self, student: StudentFacts) -> "SpanDistributionTerm":
        """With the name of its head."""
        head = resolve_head(student.heads, self.head, kinds=SPAN, loss=self.loss)
        return dataclasses.replace(self, head=head)

    def wants(self, families: Sequence[Any]) -> Wants:
        """Logits of the head."""
        return Wants(head=self.head)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals and heads."""
        (family,) = families
        signal = family.signal
        if not isinstance(signal, TaskSignal) or signal.positions != "all":
            raise UsageError(
                f"signal: loss {self.loss} needs a task family at positions all; {self.signal!r} "
                f"is {signal.kind} at {signal.positions}"
            )
        head = resolve_head(student.heads, self.head, kinds=SPAN, loss=self.loss)
        if family.num_labels != student.heads[head].num_labels:
            raise UsageError(
                f"signal: {self.signal!r} has {family.num_labels} logits a token; those of a span "
                f"have {student.heads[head].num_labels}"
            )
