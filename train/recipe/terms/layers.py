"""Terms between several layers of the student and of the teacher. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.config.errors import UsageError
from train.recipe.term import ProjectionPlan, Reach, StudentFacts, Unit, register
from train.recipe.terms.states import LayersTerm, ProjectedTerm

__all__ = ["MAX_LAYERS", "EMDTerm", "FSPTerm", "MMDTerm", "PairTerm"]

MAX_LAYERS = 24
"""On each side of `emd`: its transport problem is solved on the host in every step."""


@dataclass(frozen=True, kw_only=True)
class PairTerm(LayersTerm):
    """Products of two layers, at all tokens; both the same for one layer with itself."""

    def __post_init__(self) -> None:
        """Refuses anything but two on each side."""
        super().__post_init__()
        for name, found in (("signals", self.signals), ("student_layers", self.student_layers)):
            if len(found) != 2:
                raise ValueError(
                    f"{name} has {len(found)}; loss {self.loss} multiplies two (name one twice to "
                    "take it with itself)"
                )

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses, besides, families that do not label every token."""
        super().check(families, student)
        for signal, family in zip(self.signals, families, strict=True):
            if family.signal.positions != "all":
                raise UsageError(
                    f"signals: {signal!r} labels {family.signal.positions} positions; loss "
                    f"{self.loss} compares all tokens of a row and needs positions: all"
                )


@register
@dataclass(frozen=True, kw_only=True)
class MMDTerm(PairTerm):
    """Products of tokens with tokens; the widths of the models may differ."""

    unit: ClassVar[Unit] = "pairs"

    loss: Literal["mmd"] = "mmd"
    """Name of the loss."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses, besides, two families that cannot be multiplied."""
        super().check(families, student)
        first, second = (family.hidden_dim for family in families)
        if first != second:
            raise UsageError(
                f"signals: {self.signals[0]!r} is {first} wide and {self.signals[1]!r} {second}; "
                "mmd multiplies them channel by channel"
            )


@register
@dataclass(frozen=True, kw_only=True)
class FSPTerm(PairTerm, ProjectedTerm):
    """Products of channels with channels, over the tokens of a row."""

    unit: ClassVar[Unit] = "rows"

    loss: Literal["fsp"] = "fsp"
    """Name of the loss."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses, besides, widths that differ without a projection."""
        super().check(families, student)
        self.check_widths(families, student)

    def projections(
        self, families: Sequence[Any], student: StudentFacts, *, name: str
    ) -> tuple[ProjectionPlan, ...]:
        """One for each side; a layer that is taken with itself has one."""
        if self.projection == "none":
            return ()
        widths = [family.hidden_dim for family in families]
        sides = list(zip(self.student_layers, widths, strict=True))
        return tuple(
            self.plan(family, student, name=f"{name}_{sides.index(side)}")
            for family, side in zip(families, sides, strict=True)
        )


@register
@dataclass(frozen=True, kw_only=True)
class EMDTerm(LayersTerm, ProjectedTerm):
    """Many layers to many: each pair counts by the cheapest transport between the layers."""

    loss: Literal["emd"] = "emd"
    """Name of the loss."""

    def __post_init__(self) -> None:
        """Refuses a layer that is named twice, and too many."""
        super().__post_init__()
        for name, found in (("signals", self.signals), ("student_layers", self.student_layers)):
            if len(found) > MAX_LAYERS:
                raise ValueError(f"{name} has {len(found)}; emd takes at most {MAX_LAYERS}")
            twice = [one for one in found if found.count(one) > 1]
            if twice:
                raise ValueError(f"{name} has {twice[0]} twice; all layers weigh the same in emd")

    @property
    def reach(self) -> Reach:
        """The plan depends on the costs over the global batch."""
        return "batch"

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses, besides, widths that differ."""
        super().check(families, student)
        first = families[0].hidden_dim
        for signal, family in zip(self.signals, families, strict=True):
            if family.hidden_dim != first:
                raise UsageError(
                    f"signals: {self.signals[0]!r} is {first} wide and {signal!r} "
                    f"{family.hidden_dim}; emd compares every layer with every other"
                )
        self.check_widths(families, student)

    def projections(
        self, families: Sequence[Any], student: StudentFacts, *, name: str
    ) -> tuple[ProjectionPlan, ...]:
        """One for each of the student's layers, in their order."""
        if self.projection == "none":
            return ()
        return tuple(
            self.plan(families[0], student, name=f"{name}_layer{layer}")
            for layer in self.student_layers
        )
