"""What terms between states of the student and of the teacher have in common. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.labels.signals import HiddenSignal
from train.recipe.projection_kinds import check_kind, check_map_name
from train.recipe.term import ProjectionPlan, StudentFacts, Term, Wants

__all__ = ["LayersTerm", "ProjectedTerm", "check_hidden", "check_layer", "check_width"]


@dataclass(frozen=True, kw_only=True)
class ProjectedTerm(Term):
    """A term that may map the student's states to the teacher's width."""

    projection: str = "none"
    """A trained map from the student's width to the teacher's, saved with the run: `linear`,
    `linear_relu`, `linear_tanh`, or another of `train.projections`."""

    projection_name: str | None = None
    """Terms and layers that give the same name share one map; null: maps of its own."""

    def __post_init__(self) -> None:
        """Refuses a name for no map."""
        super().__post_init__()
        if self.projection == "none" and self.projection_name is not None:
            raise ValueError("projection_name has no effect: projection is none")
        check_map_name(self.projection_name)

    def check_widths(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses an unknown map, and families of another width than the student's without one."""
        check_kind(self.projection)
        if self.projection == "none":
            for signal, family in zip(self.signals, families, strict=True):
                check_width(signal, family.hidden_dim, student)

    def plan(self, family: Any, student: StudentFacts, *, name: str) -> ProjectionPlan:
        """The map to a family's width.

        Args:
          family: that is learned from.
          student: facts.
          name: of the map, unless `projection_name` gives another.
        """
        return ProjectionPlan(
            name=self.projection_name or name,
            kind=self.projection,
            source_dim=student.architecture.hidden_dim,
            target_dim=family.hidden_dim,
        )


@dataclass(frozen=True, kw_only=True)
class LayersTerm(Term):
    """A term on several layers of the student and several hidden families."""

    signals: tuple[str, ...] = ()
    """Families of `data.labels` that it learns from, one for each of the teacher's layers: hidden,
    and labelling the same positions of the same rows."""

    student_layers: tuple[int, ...] = ()
    """Layers of the student: 0 is the embeddings."""

    def __post_init__(self) -> None:
        """Refuses layers that are none."""
        super().__post_init__()
        for name in ("signals", "student_layers"):
            if not getattr(self, name):
                raise ValueError(f"{name} is missing or empty; loss {self.loss} needs a list")
        if min(self.student_layers) < 0:
            raise ValueError(f"student_layers has {min(self.student_layers)}; 0 is the embeddings")

    def wants(self, families: Sequence[Any]) -> Wants:
        """States of its layers."""
        return Wants(hidden=self.student_layers)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals, layers that are not there, and lists that differ."""
        for signal, family in zip(self.signals, families, strict=True):
            check_hidden(self.loss, signal, family)
        for layer in self.student_layers:
            check_layer(layer, student, setting="student_layers")
        lists = [family.list_name for family in families]
        for signal, name in zip(self.signals, lists, strict=True):
            if name != lists[0]:
                raise UsageError(
                    f"signals: {self.signals[0]!r} labels {lists[0]} and {signal!r} {name}; loss "
                    f"{self.loss} needs families that label the same positions of all rows"
                )


def check_hidden(loss: str, signal: str, family: Any) -> None:
    """Refuses a family that holds no states of a layer."""
    if not isinstance(family.signal, HiddenSignal):
        raise UsageError(
            f"loss {loss} cannot learn from {signal!r}, which holds a {family.signal.kind} signal; "
            "it needs a hidden one"
        )


def check_layer(layer: int, student: StudentFacts, *, setting: str = "student_layer") -> None:
    """Refuses a layer that the student does not have."""
    if layer > student.architecture.num_layers:
        has = "is" if setting == "student_layer" else "has"
        raise UsageError(
            f"{setting} {has} {layer}, but the student has {student.architecture.num_layers} layers"
        )


def check_width(signal: str, width: int, student: StudentFacts) -> None:
    """Refuses a family of another width than the student's."""
    if width != student.architecture.hidden_dim:
        raise UsageError(
            f"projection is none, but the student is {student.architecture.hidden_dim} wide and "
            f"{signal!r} {width}; set projection: linear"
        )
