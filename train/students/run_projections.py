"""The trained maps of a run, from its checkpoint: what held-out states are mapped by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.config.errors import UsageError
from train.checkpoints.restore import fill
from train.formula import Projection
from train.projections import make_projection
from train.recipe import HiddenTerm, Recipe, StudentFacts, term_names

__all__ = ["RunProjections"]


@dataclass(frozen=True, kw_only=True)
class RunProjections:
    """The maps of the terms that compare one layer with one family."""

    recipe: Recipe
    """Of the run."""

    student: StudentFacts
    """Of the run."""

    tensors: Mapping[str, np.ndarray]
    """Of the checkpoint, by their names there."""

    where: str
    """The run, for messages."""

    def of_term(self, index: int, family: Any) -> Projection | None:
        """The map of a term to a family's width.

        Args:
          index: of the term in the objective.
          family: held out.

        Returns:
          None where the term has none, or one to another width.

        Raises:
          UsageError: the checkpoint lacks it.
        """
        term = self.recipe.objective[index]
        if not isinstance(term, HiddenTerm) or term.projection == "none":
            return None
        name = f"{index}_{term_names(self.recipe.objective)[index]}"
        plan = term.plan(family, self.student, name=name)
        start = f"projection/{plan.name}/"
        mine = {n: t for n, t in self.tensors.items() if n.startswith(start)}
        if not mine:
            raise UsageError(f"{self.where}: the checkpoint has no projection {plan.name!r}")
        try:
            made: Projection = make_projection(plan, seed=self.recipe.seed)
            fill({f"{start}{n}": v for n, v in made.variables.items()}, mine, where=self.where)
        except UsageError:
            return None
        return made

    def fitting(self, layer: int, family: Any) -> dict[int, Projection]:
        """The maps of a layer to a family's width, by term."""
        terms = self.recipe.objective
        found = {
            index: self.of_term(index, family)
            for index, term in enumerate(terms)
            if isinstance(term, HiddenTerm) and term.student_layer == layer
        }
        return {index: made for index, made in found.items() if made is not None}
