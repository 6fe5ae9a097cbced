"""The trainings of a recipe: what a baseline is, which steps a model's weights went through."""

import contextlib
from collections.abc import Iterator
from typing import Any

from launch.recipes.method import Baseline, Evaluate, Export, Method, Train
from launch.recipes.names import BASE, names_in
from launch.recipes.place import Place
from launch.recipes.training_recipes import (
    num_steps,
    plain_of,
    read_tree,
    replaced,
    without,
    without_teacher,
)
from launch.recipes.written import setting_places, step_place
from limbeck.config.errors import UsageError
from limbeck.config.place import place_of

__all__ = ["baseline_recipe", "chain_of", "check_equal_steps", "compared", "steps_of", "trained"]

Training = Train | Baseline


def trained(method: Method, step: Training) -> Train:
    """The train step itself, or the one that a baseline is of."""
    found = step if isinstance(step, Train) else method.step(step.of)
    assert isinstance(found, Train)  # Method checks it
    return found


def baseline_recipe(step: Baseline, method: Method, place: Place) -> dict[str, Any]:
    """The training recipe of a baseline as a plain tree; names are not filled in.

    Raises:
      UsageError: of a training recipe that is not there or not one, with its place.
    """
    of = trained(method, step)
    root = read_tree(place.file(of.recipe))
    with _placed(method, of, place):
        plain = without_teacher(replaced(plain_of(root), of.set), step.objective)
    with _placed(method, step, place):
        return {**replaced(without(plain, step.drop), step.set), "name": "baseline"}


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
    chains = compared(method)
    student, baseline = (sum(steps_of(step, method, place) for step in chain) for chain in chains)
    if student == baseline:
        return
    last = chains[1][-1] if chains[1] else method.step(method.compare.scores)
    where = step_place(method, last.name)
    advice = "give both as many"
    if isinstance(last, Baseline):
        needed = steps_of(last, method, place) + student - baseline
        advice = f"also set {last.name}.training.steps={needed}"
    raise UsageError(
        f"{where + ': ' if where else ''}the student makes {student} steps and its baseline "
        f"{baseline}; {advice}"
    )


def steps_of(step: Training, method: Method, place: Place) -> int:
    """Updates that a training makes.

    Raises:
      UsageError: its training recipe does not say, or cannot be read; with the place.
    """
    if isinstance(step, Baseline):
        plain = baseline_recipe(step, method, place)
        with _placed(method, step, place):
            return num_steps(plain)
    root = read_tree(place.file(step.recipe))
    with _placed(method, step, place):
        return num_steps(replaced(plain_of(root), step.set))


@contextlib.contextmanager
def _placed(method: Method, step: Training, place: Place) -> Iterator[None]:
    """Puts where a setting was written in front of an error that begins with its path."""
    try:
        yield
    except UsageError as error:
        of = trained(method, step)
        settings = setting_places(method, of.name) | setting_places(method, step.name)
        path = str(error).split(maxsplit=1)[0].rstrip(":").replace("[", ".").replace("]", "")
        outer = [name for name in settings if f"{path}.".startswith(f"{name}.")]
        root = read_tree(place.file(of.recipe))
        where = settings[outer[-1]] if outer else place_of(root, str(error)) or root.where
        text = str(error).removeprefix(f"{path}: ") if where.startswith("--set ") else str(error)
        raise UsageError(f"{where}: {text}") from error
