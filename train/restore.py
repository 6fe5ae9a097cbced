"""A run's variables to and from its checkpoints, and finished runs as models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config import yaml_file
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.masked_lm import build_masked_lm, named_variables
from limbeck.ranks import World
from limbeck.runs import RunDirectory
from train import checkpoint
from train.checkpoint import Checkpoint, Progressed
from train.recipe import Recipe
from train.student import Student

__all__ = ["broadcast_state", "fill", "load_run", "named_tensors"]


def named_tensors(student: Student, optimizer: Any) -> dict[str, Any]:
    """Every variable of a run by its name in checkpoints.

    The optimiser's are numbered: Keras names them after how many optimisers the process had.
    """
    slots = {f"optimizer/{i:05d}": v for i, v in enumerate(optimizer.variables)}
    return {**student.named_variables, **slots}


def fill(variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, where: str) -> None:
    """Assigns tensors to the variables of their names.

    Raises:
      LimbeckError: a name or shape that does not fit.
    """
    wrong = sorted(set(variables) ^ set(tensors))
    if wrong:
        raise LimbeckError(f"{where}: {wrong[0]!r} is only in one of checkpoint and model")
    for name, variable in variables.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != tuple(variable.shape):
            raise LimbeckError(
                f"{where}: {name!r} has shape {tuple(tensor.shape)}; expected "
                f"{tuple(variable.shape)}"
            )
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


def load_run(path: str | Path) -> tuple[Recipe, Checkpoint, Any]:
    """The recipe, newest sound checkpoint and student model of a run, finished or not.

    Raises:
      UsageError: no run, or no checkpoint yet.
      LimbeckError: every checkpoint is damaged.
    """
    run = RunDirectory(path)
    recipe = yaml_file.from_plain(Recipe, run.read_config(), str(run.config_file))
    newest = checkpoint.load_newest(run.checkpoints)
    if newest is None:
        raise UsageError(f"{path}: no checkpoint yet; let the run reach its first one")
    shape = yaml_file.from_plain(
        EncoderArchitecture, newest.progressed.architecture, f"{path}: checkpoint"
    )
    model = build_masked_lm(shape, seed=recipe.seed)
    named = {f"model/{name}": v for name, v in named_variables(model).items()}
    tensors = {n: t for n, t in newest.tensors.items() if n.startswith("model/")}
    fill(named, tensors, where=str(path))
    return recipe, newest, model
