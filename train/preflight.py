"""What is checked before a run starts, within a second and without TensorFlow."""

from pathlib import Path

from limbeck.config import yaml_file
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError
from limbeck.ranks import World
from limbeck.runs import RunDirectory
from train import checkpoint
from train.inputs import Inputs, open_inputs
from train.recipe import Recipe

__all__ = ["is_complete", "preflight"]


def preflight(recipe: Recipe, run_dir: str | Path, world: World) -> Inputs:
    """Opens what the recipe names; then the leader makes the run's directory.

    Raises:
      UsageError: the first thing wrong; a directory that is another run's before anything else.
    """
    run = RunDirectory(run_dir)
    config = yaml_file.to_plain(recipe)
    with before_work():
        if run.config_file.exists():
            run.take(config)
        inputs = open_inputs(recipe)
        if world.is_leader:
            run.take(config)
    return inputs


def is_complete(recipe: Recipe, run_dir: str | Path) -> bool:
    """Whether the run has made its last step and its checkpoint is sound, and its own."""
    run = RunDirectory(run_dir)
    newest = checkpoint.list_checkpoints(run.checkpoints)[:1]
    if not newest or newest[0].name != checkpoint.file_name(recipe.training.steps):
        return False
    try:
        return checkpoint.load(newest[0]).progressed.config_hash == run.config_hash
    except LimbeckError:
        return False  # resuming says so, and goes back to the one before
