"""A run from its recipe to its last checkpoint; also what a notebook calls."""

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limbeck import ranks
from limbeck.ranks import World
from limbeck.runs import Heartbeat, MetricsLog, RunDirectory
from train import checkpoint
from train.advance import advance, prepare_batch
from train.checkpoint import Progressed
from train.evaluate import Scores
from train.inputs import Inputs
from train.job import Job, build_job, resume, save
from train.ledger import Ledger
from train.meter import Meter
from train.plan import plan_lines
from train.preflight import is_complete, preflight
from train.recipe import Recipe
from train.stopping import StopRequest
from train.stream import Stream
from train.student import Student
from train.surroundings import promise

__all__ = ["PROG", "Result", "train"]

PROG = "train run"


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a call of `train` ended."""

    run_dir: Path
    """The run's directory."""

    step: int
    """Updates done in the whole run."""

    finished: bool
    """False when it was asked to stop before its last step."""

    loss: float | None
    """The objective at the last step; None where this call made none."""

    scores: Scores | None
    """Of the last evaluation on held-out data; None where this call made none."""

    student: Student | None
    """As trained; None where the run was complete before (`train.models.open_model` loads it)."""


def train(
    recipe: Recipe,
    run_dir: str | Path,
    world: World | None = None,
    *,
    inputs: Inputs | None = None,
    say: Callable[[str], None] = print,
) -> Result:
    """Trains until the recipe's last step, going on from the newest checkpoint of `run_dir`.

    Every rank of a run calls it with the same arguments. It turns TensorFlow's op determinism on
    for the whole process.

    Args:
      recipe: what to do.
      run_dir: new or empty, or of an earlier call with the same recipe.
      world: from `limbeck.ranks.init`; one rank when None.
      inputs: of `train.preflight`, where that was called already.
      say: takes the lines that the leader prints.

    Raises:
      UsageError: inputs that do not fit the recipe, or a directory that is another run's.
      LimbeckError: damaged data, a gradient that is not finite, no sound checkpoint.
    """
    place = world or World()
    run = RunDirectory(run_dir)
    speak = say if place.is_leader else _silent
    if inputs is None:
        inputs = ranks.agree(place, lambda: preflight(recipe, run_dir, place), prog=PROG)
    if ranks.broadcast_bytes(b"complete" if is_complete(recipe, run_dir) else b""):
        steps = recipe.training.steps
        speak(f"{run.path}: complete, all {steps} steps are done")
        return Result(
            run_dir=run.path, step=steps, finished=True, loss=None, scores=None, student=None
        )
    ready = inputs
    with contextlib.ExitStack() as stack:
        ranks.agree(place, lambda: _lock(run, place, stack), prog=PROG)
        job = ranks.agree(place, lambda: build_job(ready, run, place), prog=PROG)
        start = resume(job, prog=PROG)
        _announce(job, start, speak)
        stop = stack.enter_context(StopRequest())
        with ranks.fail_alone(place, prog=PROG):
            return _run(job, start, stop, speak)


def _lock(run: RunDirectory, world: World, stack: contextlib.ExitStack) -> None:
    """Keeps other processes out of the directory, on the leader, until the stack unwinds."""
    if world.is_leader:
        stack.enter_context(run.lock())
        checkpoint.clean(run.checkpoints)


def _announce(job: Job, start: Progressed | None, speak: Callable[[str], None]) -> None:
    """Prints the plan."""
    text = promise(job.surroundings, None if start is None else start.surroundings)
    for line in plan_lines(
        job.inputs, job.source, job.world, student=job.step.student, promise=text
    ):
        speak(line)
    if start is not None:
        speak(f"resumed   after step {start.step}, at position {start.stream.position}")


def _run(
    job: Job, start: Progressed | None, stop: StopRequest, speak: Callable[[str], None]
) -> Result:
    """Opens what the steps need, makes the steps that are left, and closes it again."""
    training = job.inputs.recipe.training
    progressed = start or job.at_start()
    with contextlib.ExitStack() as stack:
        log = None
        if job.world.is_leader:
            log = MetricsLog(job.run, resumed_step=None if start is None else start.step)
            stack.enter_context(log)
        stream = Stream(
            job.source,
            position=progressed.stream.position,
            num_batches=training.steps - progressed.step,
            prepare=prepare_batch,
        )
        stack.enter_context(stream)
        meter = Meter(job.world, num_steps=training.steps, log=log, say=speak)
        last_step = -1 if start is None else start.step
        ledger = Ledger(job.run.path / "ledger.jsonl", job.source, job.world, last_step=last_step)
        progressed = dataclasses.replace(progressed, surroundings=job.surroundings)
        return _steps(job, progressed, stream, meter=meter, ledger=ledger, stop=stop, speak=speak)


def _steps(
    job: Job,
    progressed: Progressed,
    stream: Stream,
    *,
    meter: Meter,
    ledger: Ledger,
    stop: StopRequest,
    speak: Callable[[str], None],
) -> Result:
    """The loop: step, prove, report, evaluate, save."""
    training = job.inputs.recipe.training
    heartbeat = Heartbeat(job.run.heartbeat, rank=job.world.rank)
    loss = scores = None
    for batch in stream:
        before = progressed
        progressed, values, stopping = advance(job, before, batch, stop=stop, meter=meter)
        step, loss = progressed.step, values.loss
        is_last = step == training.steps
        heartbeat.beat(step=step)
        meter.count(
            rows=progressed.rows - before.rows,
            tokens=progressed.tokens - before.tokens,
            waited_s=stream.wait_s,
        )
        if _due(training.verify_order_every, step):
            ledger.verify(batch, step=step)
        if _due(training.log_every, step) or is_last:
            meter.report(values, waited_s=stream.wait_s)
        if job.evaluator is not None and (_due(training.evaluate_every, step) or is_last):
            scores = meter.evaluate(job.evaluator, step=step)
        if _due(training.checkpoint_every, step) or is_last or stopping:
            meter.sync()
            save(job, progressed)
        if stopping and not is_last:
            speak(f"stopped   after step {step} as asked; run the same command to go on")
            break
    else:
        speak(f"complete  all {progressed.step} steps are done")
    return Result(
        run_dir=job.run.path,
        step=progressed.step,
        finished=progressed.step == training.steps,
        loss=loss,
        scores=scores,
        student=job.step.student,
    )


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _silent(line: str) -> None:
    """What ranks other than the leader say."""
