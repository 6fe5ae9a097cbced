"""A run from its recipe to its last checkpoint; also what a notebook calls."""

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limbeck import ranks
from limbeck.config.place import placed
from limbeck.ranks import World
from limbeck.runs import Heartbeat, MetricsLog, RunDirectory
from train.checkpoints.checkpoint import Progressed
from train.checkpoints.judge import gave_up, judged, verdict
from train.checkpoints.saving import Saver
from train.checkpoints.warm import WarmStart
from train.evaluate import Scores
from train.inputs import Inputs
from train.job import Job, build_job, resume
from train.ledger import Ledger
from train.meter import Meter, StepValues
from train.reading.quarantine import Quarantine
from train.recipe import Recipe
from train.starting.across import prepare_alike
from train.starting.opening import announce, lock, silent
from train.starting.preflight import how_complete, is_complete, newest_step, preflight
from train.stopping import StopRequest
from train.stream import RankBatch, Stream
from train.students.student import Student
from train.students.trained import student_shapes
from train.updates.advance import advance, prepare_batch

__all__ = ["PROG", "Result", "build", "run_steps", "say_complete", "train"]

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
    """As trained; None where the run was complete before.

    `train.evaluation.models.open_model` loads one of those.
    """


def train(
    recipe: Recipe,
    run_dir: str | Path,
    world: World | None = None,
    *,
    inputs: Inputs | None = None,
    say: Callable[[str], None] = print,
    warm: WarmStart | None = None,
) -> Result:
    """Trains until the recipe's last step, going on from the newest checkpoint of `run_dir`.

    A recipe with stages is a chain of such runs (`train.staged`).

    Every rank of a run calls it with the same arguments. It turns TensorFlow's op determinism on
    for the whole process.

    Args:
      recipe: what to do.
      run_dir: new or empty, or of an earlier call with the same recipe.
      world: from `limbeck.ranks.init`; one rank when None.
      inputs: of `train.starting.preflight`, where that was called already.
      say: takes the lines that the leader prints.
      warm: what a stage starts from where it has no checkpoint yet.

    Raises:
      UsageError: inputs that do not fit the recipe, or a directory that is another run's.
      LimbeckError: damaged data, a gradient that is not finite, no sound checkpoint.
    """
    if recipe.stages:
        from train.staged import train_stages  # which calls this function for each of them

        return train_stages(recipe, run_dir, world, say=say)
    place = world or World()
    run = RunDirectory(run_dir)
    speak = say if place.is_leader else silent
    if inputs is None:
        inputs = prepare_alike(
            place,
            recipe,
            run_dir,
            lambda: preflight(recipe, run_dir, place),
            opened=lambda inputs: [inputs],
            prog=PROG,
        )
    done = ranks.agree(place, lambda: place.is_leader and is_complete(recipe, run_dir), prog=PROG)
    if ranks.broadcast_bytes(b"complete" if done else b""):
        return say_complete(recipe, run, place, speak)
    ready = inputs
    with contextlib.ExitStack() as stack:
        ranks.agree(place, lambda: lock(run, place, stack), prog=PROG)
        job = ranks.agree(place, lambda: build(ready, run, place, warm), prog=PROG)
        start = resume(job, prog=PROG)
        announce(job, start, speak)
        stop = stack.enter_context(StopRequest())
        with ranks.fail_alone(place, prog=PROG):
            return run_steps(job, start, stop, speak)


def say_complete(
    recipe: Recipe, run: RunDirectory, world: World, speak: Callable[[str], None]
) -> Result:
    """Says that nothing is left to do."""
    step = ranks.broadcast_bytes(str(newest_step(run)).encode() if world.is_leader else b"")
    if world.is_leader:
        speak(f"{run.path}: complete, {how_complete(recipe, run.path)}")
    return Result(
        run_dir=run.path, step=int(step), finished=True, loss=None, scores=None, student=None
    )


def build(
    inputs: Inputs,
    run: RunDirectory,
    world: World,
    warm: WarmStart | None = None,
) -> Job:
    """Makes the job; what it refuses is told with the line of the recipe."""
    with placed(inputs.recipe):
        student_shapes(inputs)  # a map of one's own that cannot be is told with its term
        return build_job(inputs, run, world, warm=warm)


def run_steps(
    job: Job,
    start: Progressed | None,
    stop: StopRequest,
    speak: Callable[[str], None],
    *,
    commit: Callable[[Progressed], None] | None = None,
) -> Result:
    """Opens what the steps need, makes the steps that are left, and closes it again.

    `commit` is told of each step that another one follows, and may end all this by an exception.
    """
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
            threads=training.reader_threads,
            depth=training.prefetch,
        )
        stack.enter_context(stream)
        meter = Meter(job.world, num_steps=training.steps, log=log, say=speak)
        last_step = -1 if start is None else start.step
        parts = _Parts(
            job=job,
            stream=stream,
            meter=meter,
            ledger=Ledger(
                job.run.path / "ledger.jsonl", job.source, job.world, last_step=last_step
            ),
            quarantine=_quarantine(job, last_step=last_step),
            # Inside the log's block: a save that is under way at the end still needs the log.
            saver=stack.enter_context(Saver(job, before=meter.sync)),
            heartbeat=stack.enter_context(Heartbeat(job.run.heartbeat, rank=job.world.rank)),
            stop=stop,
            commit=commit,
        )
        progressed = dataclasses.replace(progressed, surroundings=job.surroundings)
        return _steps(progressed, parts, speak=speak)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What the loop needs beside the job."""

    job: Job
    stream: Stream
    meter: Meter
    ledger: Ledger
    quarantine: Quarantine | None
    saver: Saver
    heartbeat: Heartbeat
    stop: StopRequest
    commit: Callable[[Progressed], None] | None

    def report(
        self, batch: RankBatch, before: Progressed, after: Progressed, values: StepValues
    ) -> None:
        """Counts, proves and prints a step that has been made; a collective."""
        training, step = self.job.inputs.recipe.training, after.step
        self.meter.count(
            rows=after.rows - before.rows,
            tokens=after.tokens - before.tokens,
            waited_s=self.stream.wait_s,
        )
        if self.quarantine is not None:
            self.quarantine.note(batch.bad, step=step, rows_fed=after.rows)
        if _due(training.verify_order_every, step):
            self.ledger.verify(batch, step=step)
        if _due(training.log_every, step) or step == training.steps:
            self.meter.report(values, waited_s=self.stream.wait_s)


def _quarantine(job: Job, *, last_step: int) -> Quarantine | None:
    data, path = job.inputs.recipe.data, job.run.path / "quarantine.jsonl"
    if data.on_bad_record == "stop":
        return None
    return Quarantine(path, job.world, limit=data.max_quarantined, last_step=last_step)


def _steps(progressed: Progressed, parts: _Parts, *, speak: Callable[[str], None]) -> Result:
    """The loop: step, report, evaluate, save."""
    job, training = parts.job, parts.job.inputs.recipe.training
    loss = scores = None
    stopping = ended = False
    for batch in parts.stream:
        before = progressed
        progressed, values, stopping = advance(
            job, before, batch, stop=parts.stop, meter=parts.meter
        )
        parts.heartbeat.beat(step=progressed.step)
        parts.saver.poll()
        parts.report(batch, before, progressed, values)
        loss, is_last, improved = values.loss, progressed.step == training.steps, False
        due = is_last or _due(training.evaluate_every, progressed.step)
        if job.evaluator is not None and due:
            scores = parts.meter.evaluate(job.evaluator, step=progressed.step)
            progressed, improved = judged(progressed, scores, training)
        ended = is_last or gave_up(progressed, training)
        due = ended or stopping or improved
        if due or _due(training.checkpoint_every, progressed.step):
            parts.saver.save(progressed)
        if stopping or ended:
            break
        if parts.commit is not None:
            parts.commit(progressed)
    parts.saver.wait()  # what is said next is true only once it is on disk
    if ended:
        speak(f"complete  {verdict(progressed, training)}")
    else:
        speak(f"stopped   after step {progressed.step} as asked; run the same command to go on")
    return Result(
        run_dir=job.run.path,
        step=progressed.step,
        finished=ended,
        loss=loss,
        scores=scores,
        student=job.step.student,
    )


def _due(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
