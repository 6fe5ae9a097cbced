"""Which variables a student has and which of them are trained, before it is made. No TensorFlow.

Their number decides what travels between the ranks at every update. That names and shapes are
those of the built student is tested for every kind of head.
"""

from collections.abc import Iterable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.variables import (
    Shapes,
    body_shapes,
    classifier_shapes,
    dense_shapes,
    language_head_shapes,
    pooler_shapes,
)
from limbeck.config.errors import UsageError
from limbeck.models.constructions.build import frozen_by
from train.recipe import ProjectionPlan, term_names
from train.students.student_plan import SEVERAL, StudentPlan

if TYPE_CHECKING:  # which checks what it opens with `student_shapes`
    from train.inputs import Inputs

__all__ = [
    "check_names",
    "frozen_names",
    "model_shapes",
    "num_values",
    "projection_plans",
    "student_shapes",
]

_DENSE = ("linear", "linear_relu", "linear_tanh")


def check_names(inputs: "Inputs") -> None:
    """Refuses names to freeze that mean nothing, and maps that terms cannot share.

    What only maps of one's own can say of themselves, `student_shapes` finds: it makes them.

    Raises:
      UsageError: begins with the path of the setting.
    """
    _frozen(inputs, model_shapes(inputs.plan))
    projection_plans(inputs)


def student_shapes(inputs: "Inputs") -> tuple[Shapes, frozenset[str]]:
    """Every variable of a run's student with its shape, and the names of those left alone.

    Names and order are those of `train.students.student.Student.named_variables`. Maps of one's own
    are made for it, so a run asks only after `limbeck.ranks.init`.

    Raises:
      UsageError: `model.freeze` names what the model has not, or all of it; maps that terms cannot
        share, or that cannot be between these widths.
    """
    model = model_shapes(inputs.plan)
    frozen = _frozen(inputs, model)
    shapes = {f"model/{name}": shape for name, shape in model.items()}
    for index, plan in _first_uses(inputs):
        try:
            own = _projection(plan, inputs.recipe.seed)
        except UsageError as error:
            raise UsageError(f"objective[{index}].projection: {error}") from error
        shapes |= {f"projection/{plan.name}/{name}": shape for name, shape in own.items()}
    return shapes, frozen


def _frozen(inputs: "Inputs", model: Shapes) -> frozenset[str]:
    settings = inputs.recipe.model
    constructed = tuple(name for name in frozen_by(settings.construct) if name in model)
    return frozen_names(list(model), (*settings.freeze, *constructed))


def model_shapes(plan: StudentPlan) -> Shapes:
    """The variables of a student's model, by the names of `limbeck.models.named_variables`."""
    shape = plan.architecture
    shapes = body_shapes(shape)
    if not isinstance(shape, EncoderArchitecture):
        return shapes | language_head_shapes(shape)
    if plan.has_pooler:
        shapes |= pooler_shapes(shape)
    if plan.language is not None:
        shapes |= language_head_shapes(shape)
    for name, head in plan.heads.items():
        alone = {"classification": "classifier", "tagging": "classifier"}.get(head.kind, head.kind)
        stem = f"task_{name}" if plan.kind == SEVERAL else alone
        if head.kind == "classification":
            shapes |= classifier_shapes(shape, stem, head.num_labels)
        else:
            shapes |= dense_shapes(stem, shape.hidden_dim, head.num_labels)
    return shapes


def projection_plans(inputs: "Inputs") -> dict[str, ProjectionPlan]:
    """The trained maps of all terms by name.

    Raises:
      UsageError: terms that share a name need different maps.
    """
    return {plan.name: plan for _, plan in _first_uses(inputs)}


def _first_uses(inputs: "Inputs") -> list[tuple[int, ProjectionPlan]]:
    """The trained maps, each with the index of the first term that uses it."""
    plans: dict[str, tuple[int, ProjectionPlan]] = {}
    terms = inputs.recipe.objective
    for index, (term, name) in enumerate(zip(terms, term_names(terms), strict=True)):
        families = [inputs.families[signal] for signal in term.signals]
        for plan in term.projections(families, inputs.student, name=f"{index}_{name}"):
            _, other = plans.setdefault(plan.name, (index, plan))
            if other != plan:
                raise UsageError(
                    f"objective[{index}].projection_name: {plan.name!r} is a {plan.kind} map from "
                    f"{plan.source_dim} to {plan.target_dim} here, and a {other.kind} one from "
                    f"{other.source_dim} to {other.target_dim} in a term before; terms share a "
                    "map only where these agree"
                )
    return list(plans.values())


def frozen_names(names: list[str], patterns: tuple[str, ...]) -> frozenset[str]:
    """The names of `Student.named_variables` that the patterns mean; later ones win."""
    frozen: set[str] = set()
    for pattern in patterns:
        stem = pattern.removeprefix("!").removesuffix("/")
        found = {name for name in names if name == stem or name.startswith(f"{stem}/")}
        if not found:
            raise UsageError(
                f"model.freeze: no variable of the student is or begins with {stem!r}; they "
                f"are named as {names[0]} and {names[-1]}"
            )
        frozen = frozen - found if pattern.startswith("!") else frozen | found
    if len(frozen) == len(names):
        raise UsageError("model.freeze: all variables of the student are frozen")
    return frozenset(f"model/{name}" for name in frozen)


def num_values(shapes: Mapping[str, tuple[int, ...]], names: Iterable[str] | None = None) -> int:
    """Numbers in the variables of these names, or in all of them."""
    chosen = shapes if names is None else names
    return sum(prod(shapes[name]) for name in chosen)


def _projection(plan: ProjectionPlan, seed: int) -> Shapes:
    """The variables of a map; one of a plugin is made, which has loaded TensorFlow already."""
    if plan.kind in _DENSE:
        whole = dense_shapes("map", plan.source_dim, plan.target_dim)
        return {name.removeprefix("map/"): shape for name, shape in whole.items()}
    from train.projections import make_projection

    made: Any = make_projection(plan, seed=seed)
    return {name: tuple(int(d) for d in v.shape) for name, v in made.variables.items()}
