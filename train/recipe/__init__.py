"""What a training recipe may say. A recipe is data: every name, number and path of a run.

The YAML loader (`limbeck.config.yaml_file`) builds these values and reports a ValueError raised
here with the file and line of the block it belongs to. What depends on the data (is the layer
there, is the temperature in the family's grid) is checked by `train.reading.families` and
`train.students.student`.
"""

import dataclasses
from dataclasses import dataclass

from limbeck.config.located import Node
from train.recipe.data import Corpus, Data, DynamicMasking, HeldoutTask, LiveTeacher
from train.recipe.model import ModelInit
from train.recipe.optimizer import Optimizer
from train.recipe.plugins import load_plugins_of
from train.recipe.schedules import WeightSchedule
from train.recipe.stages import (
    Stage,
    check_signals,
    check_stages,
    check_used,
    stage_settings,
    told_of_stage,
)
from train.recipe.term import (
    ProjectionPlan,
    Reach,
    StudentFacts,
    Term,
    Unit,
    Wants,
    make_term,
    register,
    term_names,
)
from train.recipe.terms import DistributionTerm, HiddenTerm, MaskedLMTerm
from train.recipe.training import Training

__all__ = [
    "Corpus",
    "Data",
    "DistributionTerm",
    "DynamicMasking",
    "HeldoutTask",
    "HiddenTerm",
    "LiveTeacher",
    "MaskedLMTerm",
    "ModelInit",
    "Optimizer",
    "ProjectionPlan",
    "Reach",
    "Recipe",
    "Stage",
    "StudentFacts",
    "Term",
    "Training",
    "Unit",
    "Wants",
    "make_term",
    "register",
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

    plugins: tuple[str, ...] = ()
    """Python modules, or files ending in .py, that are imported before anything else of the recipe
    is read: they register terms, formulas and projections of one's own. Their code is run."""

    objective: tuple[Term, ...] = ()
    """The losses, added up; of all stages that have none of their own."""

    optimizer: Optimizer
    """How gradients become updates."""

    training: Training
    """How long and how often."""

    stages: tuple[Stage, ...] = ()
    """Parts of a run, one after the other; none for a run in one piece."""

    @classmethod
    def before_build(cls, node: Node) -> None:
        """For `limbeck.config.typed`: imports the plugins, so that their terms are known."""
        load_plugins_of(node)

    def __post_init__(self) -> None:
        """Refuses what does not go together; each stage is checked as the run that it is."""
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; it must be in [0, 2^31)")
        if self.stages:
            self._check_stages()
            return
        if not self.objective:
            raise ValueError("objective is empty; give at least one term")
        if not self.training.steps:
            raise ValueError("training.steps is 0; it must be at least 1 (only stages set it)")
        self._check_weights()
        self._check_signals()
        self._check_evaluation()
        if self.optimizer.warmup_steps > self.training.steps:
            raise ValueError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, more than the "
                f"{self.training.steps} steps of the run"
            )

    @property
    def num_steps(self) -> int:
        """Updates of the whole run, at most; a gradual stage counts as one of its parts."""
        return sum(stage.steps for stage in self.stages) or self.training.steps

    def of_stage(self, number: int) -> "Recipe":
        """The recipe of a stage as a run of its own, without what the stage freezes.

        Raises:
          ValueError: something in it does not go together; begins with its path in this recipe.
        """
        settings = stage_settings(self, number)
        try:
            return dataclasses.replace(self, **settings)
        except ValueError as error:
            raise ValueError(told_of_stage(str(error), self.stages[number], number)) from error

    def _check_stages(self) -> None:
        check_stages(self)
        for number in range(len(self.stages)):
            self.of_stage(number)

    def _check_weights(self) -> None:
        """Refuses terms whose schedules leave them out of every step."""
        steps = self.training.steps
        for index, term in enumerate(self.objective):
            if not isinstance(term.weight, WeightSchedule):
                continue  # its class refuses a number that is 0
            if not any(term.weight_at(step / steps) for step in range(steps)):
                raise ValueError(
                    f"objective[{index}].weight: 0 at each of the {steps} steps of the run"
                )

    def _check_signals(self) -> None:
        """Refuses signals that are not there, and what is there for nothing."""
        check_signals(self.objective, self.data)
        used = {signal for term in self.objective for signal in term.signals}
        check_used(self.data, used, who="objective")
        if (
            self.data.masking is not None
            and self.data.teacher is None
            and all(term.signals for term in self.objective)
        ):
            raise ValueError(
                "data.masking has no effect: stored labels belong to the unmasked input, and no "
                "other term looks at masked tokens"
            )

    def _check_evaluation(self) -> None:
        """Refuses settings of evaluations that would never take place."""
        training = self.training
        for name in ("evaluate_every", "keep_best", "patience"):
            if getattr(training, name) and not self.data.has_heldout:
                raise ValueError(
                    f"training.{name} has no effect without data.heldout or data.heldout_tasks"
                )
        for name in ("keep_best", "patience"):
            if getattr(training, name) and not training.evaluate_every:
                raise ValueError(
                    f"training.{name} needs training.evaluate_every: nothing is compared"
                )
        if training.best_metric == "kl" and not self.data.heldout_labels:
            raise ValueError("training.best_metric is kl, which needs data.heldout_labels")
