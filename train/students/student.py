"""The student of a run: the model, and the projections that its terms train with it.

All variables stand in one fixed order with stable names. The order is that of the gradients on
the wire and of the optimiser's slots; the names are those in a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limbeck.architectures.hf_config import Architecture
from limbeck.models.basic import made_with
from limbeck.models.names import named_variables
from train.formula import Projection
from train.inputs import Inputs
from train.projections import make_projection
from train.students.student_model import load_model
from train.students.student_plan import StudentPlan
from train.students.trained import frozen_names, projection_plans

__all__ = ["Student", "build_student"]


@dataclass(frozen=True, kw_only=True)
class Student:
    """What is trained."""

    model: Any
    """Built: of `limbeck.models.build` or `limbeck.models.multi_task`."""

    plan: StudentPlan
    """What it is."""

    projections: Mapping[str, Projection] = field(default_factory=dict)
    """By name, in the order of the terms."""

    origin: str = "random"
    """Where its first weights came from, in a few words."""

    frozen: frozenset[str] = frozenset()
    """Names of `named_variables` that training leaves alone; they stand in checkpoints too."""

    @property
    def architecture(self) -> Architecture:
        """The model's shape."""
        return self.plan.architecture

    @property
    def named_variables(self) -> dict[str, Any]:
        """Every variable by its name in checkpoints, in the fixed order."""
        named = {f"model/{name}": v for name, v in named_variables(self.model).items()}
        for projection in self.projections.values():
            for name, variable in projection.variables.items():
                named[f"projection/{projection.name}/{name}"] = variable
        return named

    @property
    def variables(self) -> list[Any]:
        """The variables in the fixed order."""
        return list(self.named_variables.values())

    @property
    def trained(self) -> list[Any]:
        """Those of the variables that have gradients, in the same order."""
        return [v for name, v in self.named_variables.items() if name not in self.frozen]


def build_student(inputs: Inputs) -> Student:
    """Makes the model and the projections; `inputs` has been checked against the recipe.

    Raises:
      UsageError: `model.freeze` names what the model has not, or all of it.
    """
    recipe = inputs.recipe
    with made_with(recipe.training.precision):
        model, origin, frozen = load_model(recipe.model, inputs.plan, seed=recipe.seed)
    projections = {
        name: make_projection(plan, seed=recipe.seed)
        for name, plan in projection_plans(inputs).items()
    }
    names = frozen_names(list(named_variables(model)), (*recipe.model.freeze, *frozen))
    return Student(
        model=model, plan=inputs.plan, projections=projections, origin=origin, frozen=names
    )
