"""A run's variables to and from its checkpoints, and finished runs as models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.models.names import named_variables
from limbeck.ranks import World
from limbeck.runs import RunDirectory, student_run
from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Checkpoint, Progressed
from train.recipe import Recipe
from train.students.student import Student
from train.students.student_model import empty_model
from train.students.student_plan import StudentPlan

__all__ = ["broadcast_state", "fill", "load_run", "named_tensors", "plan_of"]

ANOTHER = "a checkpoint of another model or objective"


def named_tensors(student: Student, optimizer: Any) -> dict[str, Any]:
    """Every variable of a run by its name in checkpoints.

    The optimiser's are numbered: Keras names them after how many optimisers the process had.
    """
    slots = {f"optimizer/{i:05d}": v for i, v in enumerate(optimizer.variables)}
    return {**student.named_variables, **slots}


def fill(variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, where: str) -> None:
    """Assigns tensors to the variables of their names.

    Nothing is assigned unless all of them fit.

    Args:
      variables: by the names of checkpoints.
      tensors: what they get.
      where: the file, for the message.

    Raises:
      UsageError: a name, shape or dtype that does not fit: a checkpoint of another model.
    """
    for names, what in (
        (sorted(set(variables) - set(tensors)), "lacks"),
        (sorted(set(tensors) - set(variables)), "has, beyond this run's,"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(f"{where}: {ANOTHER}: it {what} {names[0]!r}{more}")
    for name, variable in variables.items():
        there = f"{tensors[name].dtype} {tuple(tensors[name].shape)}"
        here = f"{variable.dtype} {tuple(variable.shape)}"
        if there != here:
            raise UsageError(f"{where}: {ANOTHER}: {name!r} is {there} there and {here} here")
    for name, variable in variables.items():
        variable.value.assign(tensors[name])


def broadcast_state(
    world: World, progressed: Progressed | None, variables: Sequence[Any]
) -> Progressed | None:
    """Gives every rank the leader's variables, and where the run stands; a collective."""
    text = b"" if progressed is None else checkpoint.progressed_to_bytes(progressed)
    text = ranks.broadcast_bytes(text)
    ranks.broadcast_variables(variables)
    if world.is_leader or not text:
        return progressed
    return checkpoint.progressed_from_bytes(text)


def load_run(
    path: str | Path, *, which: Literal["newest", "best", "result"] = "result"
) -> tuple[Recipe, Checkpoint, Any]:
    """The recipe, a checkpoint and the student model of a run, finished or not.

    Args:
      path: directory of the run; of a staged one its last stage is taken.
      which: its newest sound checkpoint, that of its best evaluation on held-out data, or what it
        has made: the best where it stops early and keeps it, else the newest.

    Raises:
      UsageError: no run, no checkpoint yet, or none that is the best.
      LimbeckError: every checkpoint is damaged, or the best one.
    """
    run = RunDirectory(student_run(path))
    recipe = yaml_file.from_plain(Recipe, run.read_config(), str(run.config_file))
    if which == "result":
        loaded = checkpoint.load_result(run.checkpoints, best=recipe.training.result_is_best)
    else:
        read = checkpoint.load_best if which == "best" else checkpoint.load_newest
        loaded = read(run.checkpoints)
    if loaded is None:
        raise UsageError(f"{path}: no checkpoint yet; let the run reach its first one")
    model = empty_model(plan_of(loaded, where=f"{path}: checkpoint"))
    named = {f"model/{name}": v for name, v in named_variables(model).items()}
    tensors = {n: t for n, t in loaded.tensors.items() if n.startswith("model/")}
    fill(named, tensors, where=str(path))
    return recipe, loaded, model


def plan_of(loaded: Checkpoint, *, where: str) -> StudentPlan:
    """What the student of a checkpoint is.

    Raises:
      UsageError: it is of another version.
    """
    return StudentPlan.from_plain(loaded.progressed.architecture, where=where)
