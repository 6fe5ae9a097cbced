"""One loss of an objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["HIDDEN_LOSSES", "LOGIT_LOSSES", "Term", "term_names"]

LOGIT_LOSSES = ("kl", "soft_ce")
HIDDEN_LOSSES = ("hidden_mse", "hidden_cosine")


@dataclass(frozen=True, kw_only=True)
class Term:
    """One loss: weight * tau^2 * (sum over its items) / (their count in the global batch)."""

    loss: Literal["kl", "soft_ce", "mlm", "hidden_mse", "hidden_cosine"]
    """kl: KL(teacher || student). soft_ce: cross-entropy to the teacher's distribution. mlm:
    cross-entropy to the true tokens. hidden_mse, hidden_cosine: between layers' states."""

    signal: str | None = None
    """Family of `data.labels` that the term learns from; only mlm has none."""

    weight: float = 1.0
    """Multiplies the term."""

    temperature: float = 1.0
    """tau, divides both models' logits; must be in the family's grid. kl and soft_ce only."""

    scale_by_temperature_squared: bool = True
    """Whether the term carries tau^2; false reproduces systems that leave it out."""

    student_layer: int | None = None
    """Layer of the student that is compared: 0 is the embeddings. hidden_* only."""

    projection: Literal["none", "linear"] = "none"
    """linear: a trained map from the student's width to the teacher's, saved with the run."""

    missing_mass: Literal["bucket", "truncated", "renormalised"] = "bucket"
    """What happens to the teacher's probability outside the kept ids. kl and soft_ce only."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range and settings that the loss has no use for."""
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is {self.weight}; it must be a positive number")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}; it must be a positive number")
        if (self.loss == "mlm") != (self.signal is None):
            need = "takes no signal" if self.loss == "mlm" else "needs a signal of data.labels"
            raise ValueError(f"loss {self.loss} {need}")
        if self.loss not in LOGIT_LOSSES:
            if self.temperature != 1.0:
                raise ValueError(f"temperature has no effect on loss {self.loss}")
            if self.missing_mass != "bucket":
                raise ValueError(f"missing_mass has no effect on loss {self.loss}")
        if (self.loss in HIDDEN_LOSSES) != (self.student_layer is not None):
            need = "needs" if self.loss in HIDDEN_LOSSES else "takes no"
            raise ValueError(f"loss {self.loss} {need} student_layer")
        if self.student_layer is not None and self.student_layer < 0:
            raise ValueError(f"student_layer is {self.student_layer}; 0 is the embeddings")
        if self.projection != "none" and self.loss not in HIDDEN_LOSSES:
            raise ValueError(f"projection has no effect on loss {self.loss}")

    @property
    def scale(self) -> float:
        """What multiplies the term's mean: its weight, times tau^2 where it carries it."""
        square = self.temperature**2 if self.scale_by_temperature_squared else 1.0
        return self.weight * square


def term_names(terms: Sequence[Term]) -> tuple[str, ...]:
    """Names of the terms of an objective: the loss, numbered from its second term on."""
    names: list[str] = []
    for index, term in enumerate(terms):
        seen = sum(other.loss == term.loss for other in terms[:index])
        names.append(f"{term.loss}_{seen + 1}" if seen else term.loss)
    return tuple(names)
