"""What is checked before a run starts, within a second and without TensorFlow."""

from pathlib import Path

from limbeck.config import yaml_file
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.config.place import placed
from limbeck.ranks import World, is_elastic
from limbeck.runs import RunDirectory
from train.checkpoints import checkpoint
from train.checkpoints.judge import gave_up, verdict
from train.inputs import Inputs, open_inputs
from train.recipe import Recipe

__all__ = ["how_complete", "is_complete", "newest_step", "preflight"]


def preflight(recipe: Recipe, run_dir: str | Path, world: World) -> Inputs:
    """Opens what the recipe names; then the leader makes the run's directory.

    Raises:
      UsageError: the first thing wrong; a directory that is another run's before anything else.
    """
    run = RunDirectory(run_dir)
    config = yaml_file.to_plain(recipe)
    with placed(recipe), before_work():
        if run.config_file.exists():
            run.take(config)
        _check_wire(recipe, world)
        inputs = open_inputs(recipe)
        if world.is_leader:
            run.take(config)
    return inputs


def _check_wire(recipe: Recipe, world: World) -> None:
    if recipe.training.wire != "adasum":
        return
    if world.size & (world.size - 1):
        raise UsageError(
            f"training.wire is 'adasum', which needs 2, 4, 8, ... ranks; there are {world.size}"
        )
    if is_elastic():
        raise UsageError("training.wire is 'adasum', which Horovod does not have for elastic jobs")


def is_complete(recipe: Recipe, run_dir: str | Path) -> bool:
    """Whether the run has ended and its last checkpoint is sound, and its own."""
    run = RunDirectory(run_dir)
    newest = checkpoint.list_checkpoints(run.checkpoints)[:1]
    if not newest or not _has_ended(recipe, newest[0]):
        return False
    try:
        return checkpoint.load(newest[0]).progressed.config_hash == run.config_hash
    except LimbeckError:
        return False  # resuming says so, and goes back to the one before


def how_complete(recipe: Recipe, run_dir: str | Path) -> str:
    """In words, of a run that is."""
    newest = checkpoint.list_checkpoints(RunDirectory(run_dir).checkpoints)
    progressed = checkpoint.peek(newest[0])
    assert progressed is not None  # `is_complete` has read it
    return verdict(progressed, recipe.training)


def newest_step(run: RunDirectory) -> int:
    """Of the newest checkpoint, by its name; 0 without one."""
    newest = checkpoint.list_checkpoints(run.checkpoints)[:1]
    return int(newest[0].name[5:13]) if newest else 0


def _has_ended(recipe: Recipe, path: Path) -> bool:
    if path.name == checkpoint.file_name(recipe.training.steps):
        return True
    progressed = checkpoint.peek(path) if recipe.training.patience else None
    return progressed is not None and gave_up(progressed, recipe.training)
