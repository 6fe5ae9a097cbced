"""A run put together on one rank, and its way into and out of checkpoints."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.ranks import World
from limbeck.runs import RunDirectory
from train import checkpoint
from train.checkpoint import Checkpoint, Progressed
from train.evaluate import Evaluator, ModelPredictor
from train.inputs import Inputs
from train.objective import Objective, bind
from train.restore import broadcast_state, fill, named_tensors
from train.step import TrainStep
from train.stream import Source
from train.student import Student, build_student
from train.surroundings import make_deterministic, surroundings

__all__ = ["Job", "build_job", "resume", "save", "weights_digest"]


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
    source = inputs.source(world, objective.groups)
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
    evaluator = None
    if inputs.heldout is not None:
        evaluator = Evaluator(
            ModelPredictor(student.model),
            inputs.heldout,
            vocab_size=inputs.architecture.vocab_size,
            family=inputs.heldout_family,
            world=world,
        )
    return Job(
        inputs=inputs,
        world=world,
        run=run,
        objective=objective,
        source=source,
        step=step,
        evaluator=evaluator,
        surroundings=surroundings(world),
    )


def resume(job: Job, *, prog: str) -> Progressed | None:
    """Fills all ranks from the leader's newest sound checkpoint; a collective.

    Returns:
      Where the run stands; None for a new one, whose ranks then start from the leader's weights.

    Raises:
      UsageError: the checkpoint is of other settings or other data.
      LimbeckError: there are checkpoints and all are damaged.
    """
    progressed = ranks.agree(job.world, lambda: _load(job), prog=prog)
    return broadcast_state(job.world, progressed, list(job.variables.values()))


def save(job: Job, progressed: Progressed) -> None:
    """Writes a checkpoint, on the leader; a collective, since all ranks' weights are compared.

    Raises:
      LimbeckError: on the leader, when the ranks hold different weights. They never may: each
        applies the same sums to the same values.
    """
    digests = ranks.gather_bytes(weights_digest(job.step.student))
    if job.world.is_leader:
        if other := [rank for rank, digest in enumerate(digests) if digest != digests[0]]:
            raise LimbeckError(
                f"step {progressed.step}: the weights of rank {other[0]} are not those of rank 0, "
                "so the ranks do not train one model; nothing was saved"
            )
        tensors = {name: v.value.numpy() for name, v in job.variables.items()}
        keep = job.inputs.recipe.training.keep_checkpoints
        state = Checkpoint(progressed=progressed, tensors=tensors)
        checkpoint.save(job.run.checkpoints, state, keep=keep)


def weights_digest(student: Student) -> bytes:
    """SHA-256 over all weights, in their order."""
    digest = hashlib.sha256()
    for variable in student.variables:
        digest.update(np.ascontiguousarray(variable.value.numpy()).tobytes())
    return digest.digest()


def _load(job: Job) -> Progressed | None:
    if not job.world.is_leader:
        return None
    newest = checkpoint.load_newest(job.run.checkpoints)
    if newest is None:
        return None
    progressed = newest.progressed
    if progressed.config_hash != job.run.config_hash:
        raise UsageError(f"{job.run.checkpoints} holds checkpoints of other settings")
    order = job.source.order
    progressed.stream.check_fits(
        dataset_ids=job.source.dataset_ids,
        seed=order.seed,
        boundary=order.boundary,
        num_rows=order.num_rows,
    )
    fill(job.variables, newest.tensors, where=str(job.run.checkpoints))
    return progressed
