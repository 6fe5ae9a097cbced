"""Terms that compare logits one by one, so they need all of them. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from train.recipe.term import StudentFacts, register
from train.recipe.terms.logit_checks import check_full
from train.recipe.terms.logits import Combination, LogitTerm

__all__ = ["LogitMSETerm", "SigmoidTerm"]


@register
@dataclass(frozen=True, kw_only=True)
class LogitMSETerm(LogitTerm):
    """Squared difference of the logits; of several teachers, to their mean."""

    loss: Literal["logit_mse"] = "logit_mse"
    """Name of the loss; with one output it is the regression loss."""

    reduction: Literal["mean", "sum"] = "mean"
    """What becomes of the logits of an entry: mean as in TextBrewer and XtremeDistil, sum as in
    DistilBERT."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses families that do not hold all logits."""
        super().check(families, student)
        check_full(self.loss, self.signals, families, student, head=self.head)


@register
@dataclass(frozen=True, kw_only=True)
class SigmoidTerm(LogitTerm):
    """Cross-entropy label by label, where an entry may have several labels at once."""

    loss: Literal["sigmoid_ce"] = "sigmoid_ce"
    """Name of the loss."""

    scale_by_temperature_squared: bool = True
    """Whether the term carries tau^2."""

    combine: Combination | None = None
    """What is averaged over `signals`; null: logits, where there are several."""

    def __post_init__(self) -> None:
        """Refuses settings that would be ignored, and schedules of a softmax."""
        super().__post_init__()
        if self.combine is not None and self.signal is not None:
            raise ValueError("combine has no effect with one teacher")
        if not isinstance(self.temperature, int | float):
            raise ValueError(
                "temperature must be a number: flsw and cwsm are for distributions over labels"
            )
        if self.probability_shift:
            raise ValueError("probability_shift has no effect: an entry may have several labels")

    def scale_at(self, x: float) -> float:
        """The weight, times tau^2 where it carries it."""
        assert isinstance(self.temperature, int | float)
        square = self.temperature**2 if self.scale_by_temperature_squared else 1.0
        return self.weight_at(x) * square

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses anything but task families."""
        super().check(families, student)
        check_full(self.loss, self.signals, families, student, head=self.head, kinds=("task",))
