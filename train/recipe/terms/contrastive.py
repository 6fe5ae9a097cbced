"""Terms that tell the rows of a batch apart. No TensorFlow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.config.errors import UsageError
from train.recipe.term import ProjectionPlan, Reach, StudentFacts, Unit, Wants, register
from train.recipe.terms.states import ProjectedTerm, check_hidden, check_layer

__all__ = ["ContrastiveTerm"]


@register
@dataclass(frozen=True, kw_only=True)
class ContrastiveTerm(ProjectedTerm):
    """Which teacher's state belongs to a row, among those of the global batch."""

    unit: ClassVar[Unit] = "rows"

    loss: Literal["contrastive"] = "contrastive"
    """Name of the loss."""

    signal: str
    """Family of `data.labels` that it learns from: hidden, with positions first or all; the first
    token of each row is compared."""

    student: Literal["layer", "pooled"] = "layer"
    """layer: the first token's state of `student_layer`. pooled: the pooler's output."""

    student_layer: int | None = None
    """Layer of the student that is compared: 0 is the embeddings; null where `student` is
    pooled."""

    temperature: float = 0.07
    """tau, divides the cosines."""

    def __post_init__(self) -> None:
        """Refuses a temperature that is none, and a layer that is missing or of no use."""
        super().__post_init__()
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}; it must be a positive number")
        if self.student == "pooled":
            if self.student_layer is not None:
                raise ValueError("student_layer has no effect: student is pooled")
        elif self.student_layer is None:
            raise ValueError("student_layer is missing; or set student: pooled")
        elif self.student_layer < 0:
            raise ValueError(f"student_layer is {self.student_layer}; 0 is the embeddings")

    @property
    def reach(self) -> Reach:
        """A row is compared with the teacher's states of the whole global batch."""
        return "batch"

    @property
    def signals(self) -> tuple[str, ...]:
        """The one."""
        return (self.signal,)

    @property
    def student_layers(self) -> tuple[int, ...]:
        """The one, or none."""
        return () if self.student_layer is None else (self.student_layer,)

    def wants(self, families: Sequence[Any]) -> Wants:
        """States of the layer, or the pooled output."""
        return Wants(hidden=self.student_layers, pooled=self.student == "pooled")

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals and positions, what the student has not, widths that differ."""
        (family,) = families
        check_hidden(self.loss, self.signal, family)
        if family.signal.positions == "masked":
            raise UsageError(
                f"signal: {self.signal!r} labels masked positions; loss contrastive compares the "
                "first token of each row and needs positions: first or all"
            )
        if self.student == "pooled" and not student.pooler:
            raise UsageError("student is pooled, but the student has no pooler; name a layer")
        for layer in self.student_layers:
            check_layer(layer, student)
        self.check_widths(families, student)

    def projections(
        self, families: Sequence[Any], student: StudentFacts, *, name: str
    ) -> tuple[ProjectionPlan, ...]:
        """From the student's width to the teacher's, where it has one."""
        return () if self.projection == "none" else (self.plan(families[0], student, name=name),)
