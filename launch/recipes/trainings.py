"""The trainings of a recipe: what a baseline is, which steps a model's weights went through."""

from typing import Any

from launch.recipes.method import Baseline, Evaluate, Export, Method, Train
from launch.recipes.names import BASE, names_in
from launch.recipes.place import Place
from launch.recipes.training_recipes import (
    num_steps,
    read_plain,
    replaced,
    without,
    without_teacher,
)
from limbeck.config.errors import UsageError

__all__ = ["baseline_recipe", "chain_of", "check_equal_steps", "compared", "steps_of"]

Training = Train | Baseline


def trained(method: Method, step: Training) -> Train:
    """The train step itself, or the one that a baseline is of."""
    found = step if isinstance(step, Train) else method.step(step.of)
    assert isinstance(found, Train)  # Method checks it
    return found


def baseline_recipe(step: Baseline, method: Method, place: Place) -> dict[str, Any]:
    """The training recipe of a baseline as a plain tree; names are not filled in."""
    of = trained(method, step)
    file = place.file(of.recipe)
    plain = without_teacher(replaced(read_plain(file), of.set), step.objective, where=str(file))
    plain = without(plain, step.drop)
    return {**replaced(plain, step.set), "name": "baseline"}


def chain_of(method: Method, model: str) -> tuple[Training, ...]:
    """The trainings that a model's weights have been through, the first one first.

    Args:
      method: the recipe.
      model: text that names a run, or a folder exported from one.
    """
    name = next(iter(names_in(model)), "")
    if not name or name in BASE:
        return ()
    step = method.step(name)
    if isinstance(step, Export):
        return chain_of(method, step.run)
    if not isinstance(step, Train | Baseline):
        return ()
    start = {**trained(method, step).set, **step.set}.get("model.checkpoint", "")
    return (*chain_of(method, str(start)), step)


def compared(method: Method) -> tuple[tuple[Training, ...], tuple[Training, ...]]:
    """The trainings of the student and of its baseline, without those that both begin with."""
    scores = method.step(method.compare.scores)
    assert isinstance(scores, Evaluate)
    student, baseline = (chain_of(method, scores.models[n]) for n in ("student", "baseline"))
    shared = 0
    while shared < min(len(student), len(baseline)) and student[shared] is baseline[shared]:
        shared += 1
    return student[shared:], baseline[shared:]


def check_equal_steps(method: Method, place: Place) -> None:
    """Refuses a baseline that is trained for longer than the student, or shorter."""
    student, baseline = (
        sum(steps_of(step, method, place) for step in chain) for chain in compared(method)
    )
    if student != baseline:
        raise UsageError(
            f"compare: the student makes {student} steps and its baseline {baseline}; set "
            "training.steps so that both make the same number"
        )


def steps_of(step: Training, method: Method, place: Place) -> int:
    """Updates that a training makes."""
    if isinstance(step, Baseline):
        return num_steps(baseline_recipe(step, method, place), where=f"step {step.name!r}")
    file = place.file(step.recipe)
    return num_steps(replaced(read_plain(file), step.set), where=str(file))
