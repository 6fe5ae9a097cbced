"""One update of a run, from this rank's part of a batch to the global values of the step."""

import dataclasses

import numpy as np

from limbeck import ranks
from train.checkpoints.checkpoint import Progressed
from train.job import Job
from train.meter import Meter, StepValues
from train.reading.batch import MicroBatch
from train.step import to_tensors
from train.stopping import StopRequest
from train.stream import RankBatch
from train.updates.nonfinite import refuse_or_skip
from train.updates.schedule import learning_rate

__all__ = ["advance", "prepare_batch"]


def advance(
    job: Job, before: Progressed, batch: RankBatch, *, stop: StopRequest, meter: Meter
) -> tuple[Progressed, StepValues, bool]:
    """Makes one update: counts over all ranks, gradients, their sum, the optimiser.

    Args:
      job: the run.
      before: where it stands.
      batch: this rank's part of the next global batch, through `prepare_batch`.
      stop: whether this process was asked to stop.
      meter: counts the time of collectives.

    Returns:
      Where the run stands after it, the step's global values, and whether any rank wants to stop.

    Raises:
      LimbeckError: loss or gradient are not finite, no loss scale is to blame, and
        `training.max_skipped_steps` does not allow to leave this update out. With several ranks the
        leader prints it and all leave in order.
    """
    recipe = job.inputs.recipe
    counts, rows, tokens, stopping = _global_counts(job, batch, stop=stop, meter=meter)
    factors = job.objective.factors(counts, x=before.step / recipe.training.steps)
    settled = job.step.settle(batch.micro, counts, step=before.step)
    gradients = job.step.gradients(batch.micro, factors, step=before.step, settled=settled)
    with meter.communicating():
        total = job.step.reduce(gradients, wire=recipe.training.wire)
    rate = learning_rate(recipe.optimizer, step=before.step, num_steps=recipe.training.steps)
    update = job.step.update(total, learning_rate=rate)
    if update.outcome == "overflow":
        meter.say(
            f"step {before.step + 1}: gradients overflow float16; skipped, the loss scale is halved"
        )
    elif update.outcome == "not_finite":
        meter.say(refuse_or_skip(job, batch, gradients, total, step=before.step + 1))
    after = dataclasses.replace(
        before,
        step=before.step + 1,
        stream=job.source.state(batch.next_position),
        rows=before.rows + rows,
        tokens=before.tokens + tokens,
    )
    sums = total.sums.numpy().astype(np.float64)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), 0.0)
    names = job.objective.names
    values = StepValues(
        step=after.step,
        loss=float((sums * factors).sum()),
        terms=dict(zip(names, means.tolist(), strict=True)),
        counts=dict(zip(names, counts.tolist(), strict=True)),
        gradient_norm=update.norm,
        learning_rate=rate,
        skipped=job.step.optimizer.num_skipped,
        rows=after.rows,
        tokens=after.tokens,
        epoch=after.rows / job.source.order.num_rows,
    )
    return after, values, stopping


def prepare_batch(batch: RankBatch) -> RankBatch:
    """Makes tensors of a batch's arrays, in a reading thread: a step need not wait for the copy."""
    micro: list[MicroBatch] = [to_tensors(m) for m in batch.micro]
    return dataclasses.replace(batch, micro=micro)


def _global_counts(
    job: Job, batch: RankBatch, *, stop: StopRequest, meter: Meter
) -> tuple[np.ndarray, int, int, bool]:
    """N_j of every term, rows, tokens, and whether any rank wants to stop: one small vector."""
    local = job.objective.counts(batch.items)
    extra = [len(batch.rows), batch.num_tokens, int(stop.requested)]
    with meter.communicating():
        totals = ranks.sum_vector(np.array([*local, *extra], np.int64), name="counts")
    rows, tokens, num_stopping = (int(x) for x in totals[len(local) :])
    return totals[: len(local)], rows, tokens, num_stopping > 0
