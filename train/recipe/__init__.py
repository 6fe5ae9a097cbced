"""What a training recipe may say. A recipe is data: every name, number and path of a run.

The YAML loader (`limbeck.config.yaml_file`) builds these values and reports a ValueError raised
here with the file and line of the block it belongs to. What depends on the data (is the layer
there, is the temperature in the family's grid) is checked by `train.families` and `train.student`.
"""

from dataclasses import dataclass

from train.recipe.data import Corpus, Data, DynamicMasking, LiveTeacher
from train.recipe.model import ModelInit
from train.recipe.optimizer import Optimizer
from train.recipe.term import HIDDEN_LOSSES, LOGIT_LOSSES, Term, term_names
from train.recipe.training import Training

__all__ = [
    "HIDDEN_LOSSES",
    "LOGIT_LOSSES",
    "Corpus",
    "Data",
    "DynamicMasking",
    "LiveTeacher",
    "ModelInit",
    "Optimizer",
    "Recipe",
    "Term",
    "Training",
    "term_names",
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    name: str
    """Short name for logs."""

    seed: int
    """Chooses the order of the data, dropout, and every weight that starts at random."""

    data: Data
    """What is read."""

    model: ModelInit
    """The student."""

    objective: tuple[Term, ...]
    """The losses, added up."""

    optimizer: Optimizer
    """How gradients become updates."""

    training: Training
    """How long and how often."""

    def __post_init__(self) -> None:
        """Refuses an empty objective, unknown families, and labels that no term reads."""
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; it must be in [0, 2^31)")
        if not self.objective:
            raise ValueError("objective is empty; give at least one term")
        used = {term.signal for term in self.objective if term.signal is not None}
        where = "data.labels" if self.data.teacher is None else "data.teacher.signals"
        if missing := sorted(used - set(self.data.signal_names)):
            known = ", ".join(sorted(self.data.signal_names)) or "none"
            raise ValueError(
                f"objective uses signal {missing[0]!r}, which is not in {where} ({known})"
            )
        if unused := sorted(set(self.data.signal_names) - used):
            raise ValueError(f"{where} has {unused[0]!r}, which no term of objective uses")
        if (
            self.data.masking is not None
            and self.data.teacher is None
            and all(term.signal is not None for term in self.objective)
        ):
            raise ValueError(
                "data.masking has no effect: stored labels belong to the unmasked input, and no "
                "other term looks at masked tokens"
            )
        if self.training.evaluate_every and self.data.heldout is None:
            raise ValueError("training.evaluate_every has no effect without data.heldout")
        if self.training.keep_best and self.data.heldout is None:
            raise ValueError("training.keep_best has no effect without data.heldout")
        if self.training.keep_best and not self.training.evaluate_every:
            raise ValueError(
                "training.keep_best needs training.evaluate_every: nothing is compared"
            )
        if self.training.best_metric == "kl" and not self.data.heldout_labels:
            raise ValueError("training.best_metric is kl, which needs data.heldout_labels")
        if self.optimizer.warmup_steps > self.training.steps:
            raise ValueError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, more than the "
                f"{self.training.steps} steps of the run"
            )
