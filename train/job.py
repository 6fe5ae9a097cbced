"""A run put together on one rank, and its way into and out of checkpoints."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from limbeck import ranks
from limbeck.config.errors import UsageError
from limbeck.ranks import World
from limbeck.records.canonical import differences
from limbeck.runs import RunDirectory
from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Progressed
from train.checkpoints.restore import broadcast_state, fill, named_tensors
from train.checkpoints.warm import WarmStart, fresh_maps, take_over
from train.evaluate import Evaluation, make_evaluator
from train.inputs import Inputs
from train.objective import Objective, bind
from train.recipe import Recipe
from train.recipe.plugins import fingerprints
from train.starting.surroundings import make_deterministic, surroundings
from train.step import TrainStep
from train.stream import Source
from train.students.student import build_student

__all__ = ["Job", "build_job", "in_world", "resume"]


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

    evaluator: Evaluation | None
    """Of held-out data."""

    surroundings: dict[str, Any]
    """What the last bits depend on."""

    warm: WarmStart | None = None
    """What a stage starts from; None for a run in one piece and for a first stage."""

    @property
    def variables(self) -> dict[str, Any]:
        """Every variable by its name in checkpoints."""
        scale = self.step.loss_scale
        state = {} if scale is None else scale.named_variables
        return {**named_tensors(self.step.student, self.step.optimizer), **state}

    def at_start(self) -> Progressed:
        """Where a run stands before its first step."""
        warm = self.warm
        return Progressed(
            step=0,
            stream=self.source.state(0 if warm is None else warm.position),
            rows=0,
            tokens=0,
            # Only the leader writes it, and only its host need have the directory.
            config_hash=self.run.config_hash if self.world.is_leader else "",
            architecture=_described(self.inputs),
            surroundings=self.surroundings,
            origin=None if warm is None else warm.origin,
        )


def _described(inputs: Inputs) -> dict[str, Any]:
    """The student as checkpoints tell it."""
    return inputs.plan.to_plain()


def build_job(
    inputs: Inputs, run: RunDirectory, world: World, *, warm: WarmStart | None = None
) -> Job:
    """Makes model, optimiser and functions, equal on all ranks; TensorFlow deterministic."""
    make_deterministic()
    recipe = inputs.recipe
    objective = bind(
        recipe.objective,
        inputs.families,
        inputs.student,
        global_batch=recipe.training.global_batch,
    )
    source = inputs.source(world, objective.lists)
    student = build_student(inputs)
    if warm is not None:
        fresh = fresh_maps(student.named_variables, warm)
        anew = f"; new projections: {', '.join(fresh)}" if fresh else ""
        student = dataclasses.replace(student, origin=f"{warm.text}{anew}")
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
        surroundings=_surroundings(recipe, world),
        warm=warm,
    )


def in_world(job: Job, world: World) -> Job:
    """The same job among other ranks: other slices of each batch, sums over others."""
    source = job.inputs.source(world, job.objective.lists)
    job.step.renew(source.read(source.global_rows(0)).micro[0])
    return dataclasses.replace(
        job,
        world=world,
        source=source,
        evaluator=make_evaluator(job.inputs, job.objective, job.step.student, world),
        surroundings=_surroundings(job.inputs.recipe, world),
    )


def _surroundings(recipe: Recipe, world: World) -> dict[str, Any]:
    """What the last bits depend on; the code of plugins too."""
    here = surroundings(world)
    return {**here, "plugins": fingerprints(recipe.plugins)} if recipe.plugins else here


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
        if job.warm is not None:
            take_over(job.step.student.named_variables, job.warm)
        return None
    progressed = newest.progressed
    where = str(job.run.checkpoints / checkpoint.file_name(progressed.step))
    if progressed.config_hash != job.run.config_hash:
        raise UsageError(
            f"{where}: made by a run with other settings (config.json {progressed.config_hash} "
            f"there, {job.run.config_hash} here); take it out of the directory"
        )
    if job.warm is not None and progressed.origin != job.warm.origin:
        raise UsageError(
            f"{where}: started from {progressed.origin}, and the stage before has made "
            f"{job.warm.origin}; delete the directory of this stage to make it again"
        )
    here = _described(job.inputs)
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
