"""A run put together on one rank, and its way into and out of checkpoints."""

from dataclasses import dataclass
from typing import Any

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.ranks import World
from limbeck.records.canonical import differences
from limbeck.runs import RunDirectory
from train import checkpoint
from train.checkpoint import Progressed
from train.evaluate import Evaluator, make_evaluator
from train.inputs import Inputs
from train.objective import Objective, bind
from train.restore import broadcast_state, fill, named_tensors
from train.step import TrainStep
from train.stream import Source
from train.student import build_student
from train.surroundings import make_deterministic, surroundings

__all__ = ["Job", "build_job", "resume"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """The parts of a run on one rank."""

    inputs: Inputs
    """What is read, and the recipe."""

    world: World
    """This rank's place."""

    run: RunDirectory
    """Where the leader writes."""

    objective: Objective
    """What is minimised."""

    source: Source
    """The batches."""

    step: TrainStep
    """The student, its optimiser and their functions."""

    evaluator: Evaluator | None
    """Of held-out data."""

    surroundings: dict[str, Any]
    """What the last bits depend on."""

    @property
    def variables(self) -> dict[str, Any]:
        """Every variable by its name in checkpoints."""
        scale = self.step.loss_scale
        state = {} if scale is None else scale.named_variables
        return {**named_tensors(self.step.student, self.step.optimizer), **state}

    def at_start(self) -> Progressed:
        """Where a run stands before its first step."""
        return Progressed(
            step=0,
            stream=self.source.state(0),
            rows=0,
            tokens=0,
            # Only the leader writes it, and only its host need have the directory.
            config_hash=self.run.config_hash if self.world.is_leader else "",
            architecture=yaml_file.to_plain(self.inputs.architecture),
            surroundings=self.surroundings,
        )


def build_job(inputs: Inputs, run: RunDirectory, world: World) -> Job:
    """Makes model, optimiser and functions, equal on all ranks; TensorFlow deterministic."""
    make_deterministic()
    recipe = inputs.recipe
    objective = bind(recipe.objective, inputs.families)
    source = inputs.source(world, objective.lists)
    student = build_student(inputs, objective)
    first = source.read(source.global_rows(0))
    step = TrainStep(
        student,
        objective,
        recipe.optimizer,
        seed=recipe.seed,
        example=first.micro[0],
        precision=recipe.training.precision,
    )
    return Job(
        inputs=inputs,
        world=world,
        run=run,
        objective=objective,
        source=source,
        step=step,
        evaluator=make_evaluator(inputs, objective, student, world),
        surroundings=surroundings(world),
    )


def resume(job: Job, *, prog: str) -> Progressed | None:
    """Fills all ranks from the leader's newest sound checkpoint; a collective.

    Returns:
      Where the run stands; None for a new one, whose ranks then start from the leader's weights.

    Raises:
      UsageError: the checkpoint is of other settings, another model or other data.
      LimbeckError: there are checkpoints and all are damaged.
    """
    progressed = ranks.agree(job.world, lambda: _load(job), prog=prog)
    return broadcast_state(job.world, progressed, list(job.variables.values()))


def _load(job: Job) -> Progressed | None:
    if not job.world.is_leader:
        return None
    newest = checkpoint.load_newest(job.run.checkpoints)
    if newest is None:
        return None
    progressed = newest.progressed
    where = str(job.run.checkpoints / checkpoint.file_name(progressed.step))
    if progressed.config_hash != job.run.config_hash:
        raise UsageError(
            f"{where}: made by a run with other settings (config.json {progressed.config_hash} "
            f"there, {job.run.config_hash} here); take it out of the directory"
        )
    here = yaml_file.to_plain(job.inputs.architecture)
    if changes := differences(progressed.architecture, here):
        raise UsageError(
            f"{where}: a checkpoint of another model: {'; '.join(changes)}; has "
            "model.checkpoint changed since the run began? Put it back, or choose another "
            "--run-dir"
        )
    try:
        job.source.check_state(progressed.stream)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    fill(job.variables, newest.tensors, where=where)
    return progressed
