"""Terms between one layer of the student and one of the teacher, entry by entry. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import UsageError
from train.recipe.term import ProjectionPlan, StudentFacts, Unit, Wants, register
from train.recipe.terms.positions import Positions, check_positions, list_at
from train.recipe.terms.states import ProjectedTerm, check_hidden, check_layer

__all__ = ["HiddenTerm"]


@register
@dataclass(frozen=True, kw_only=True)
class HiddenTerm(ProjectedTerm):
    """One layer of the student against one of the teacher, entry by entry."""

    loss: Literal["hidden_mse", "hidden_cosine", "pkd"]
    """hidden_mse: mean squared difference over the channels. hidden_cosine: 1 - cosine. pkd: the
    squared distance of the normalised states."""

    signal: str
    """Family of `data.labels` that it learns from: hidden."""

    student_layer: int
    """Layer of the student that is compared: 0 is the embeddings."""

    positions: Positions = "labelled"
    """labelled: all positions of the family. masked, first: of a family that labels more, the
    masked ones or the first of each row."""

    def __post_init__(self) -> None:
        """Refuses a layer that is none."""
        super().__post_init__()
        if self.student_layer < 0:
            raise ValueError(f"student_layer is {self.student_layer}; 0 is the embeddings")

    @property
    def counted(self) -> Unit:
        """The entries, or the rows where one of each is compared."""
        return "rows" if self.positions == "first" else "entries"

    @property
    def signals(self) -> tuple[str, ...]:
        """The one."""
        return (self.signal,)

    @property
    def student_layers(self) -> tuple[int, ...]:
        """The one."""
        return (self.student_layer,)

    def wants(self, families: Sequence[Any]) -> Wants:
        """States of the layer."""
        return Wants(hidden=(self.student_layer,))

    def list_name(self, families: Sequence[Any]) -> str:
        """That of its family, or of its masked positions; `counted` leaves the first ones."""
        return list_at("masked" if self.positions == "masked" else "labelled", families)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals and positions, a layer that is not there, widths that differ."""
        (family,) = families
        check_hidden(self.loss, self.signal, family)
        if self.positions == "first" and family.signal.positions == "masked":
            raise UsageError(
                f"positions is first, but {self.signal!r} labels masked positions; it needs a "
                "family with positions first or all"
            )
        if self.positions == "masked":
            check_positions(self.positions, self.signals, families)
        check_layer(self.student_layer, student)
        self.check_widths(families, student)

    def projections(
        self, families: Sequence[Any], student: StudentFacts, *, name: str
    ) -> tuple[ProjectionPlan, ...]:
        """From the student's width to the teacher's, where it has one."""
        return () if self.projection == "none" else (self.plan(families[0], student, name=name),)
