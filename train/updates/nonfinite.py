"""Losses and gradients that are not finite: which rows they came from, and whether to go on.

Such an update is left out and counted; more than `training.max_skipped_steps` in a row end the run.
Each is a line of `nonfinite.jsonl` in the run's directory: step, position, the norm, and for every
rank whether its own part was finite, the terms whose loss is not, and the rows and keys it fed. So
the keys of all of the batch are there, and usually one rank's are those to look at. A run that is
resumed before such a step meets it again and writes a second, equal line.
"""

import json
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.config.errors import LimbeckError
from train.job import Job
from train.step import Gradients
from train.stream import RankBatch

__all__ = ["FILE", "PROG", "refuse_or_skip"]

FILE = "nonfinite.jsonl"
PROG = "train run"


def refuse_or_skip(
    job: Job, batch: RankBatch, local: Gradients, total: Gradients, *, step: int
) -> str:
    """Writes down where the numbers came from; a collective, as all ranks come to the same end.

    Args:
      job: the run, whose optimiser has counted the update as left out.
      batch: this rank's part of the batch.
      local: this rank's gradients before the sum over ranks.
      total: the sums.
      step: of the update, from 1.

    Returns:
      What to say where the run goes on.

    Raises:
      LimbeckError: it does not; with several ranks the leader prints it and all leave in order.
    """
    answers = ranks.gather_bytes(json.dumps(_own_part(job, batch, local)).encode())
    parts = [{"rank": rank, **json.loads(text)} for rank, text in enumerate(answers)]
    what = _what(job.objective.names, total)
    if job.world.is_leader:
        _append(job, {"step": step, "position": batch.position, "what": what, "ranks": parts})
    in_a_row = job.step.optimizer.skipped_in_a_row
    allowed = job.inputs.recipe.training.max_skipped_steps
    bad = [part for part in parts if not part["finite"]] or parts
    keys = [key for part in bad for key in part["keys"]]
    where = f"keys {', '.join(keys[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    text = (
        f"step {step}: {what}; the rows are at position {batch.position}, {where} "
        f"(all of them in {job.run.path / FILE})"
    )
    if in_a_row <= allowed:
        return f"{text}; skipped, {in_a_row} in a row of at most {allowed}"

    def refuse() -> None:
        raise LimbeckError(
            f"{text}; nothing of this step is saved; look at the labels of these rows, lower "
            "optimizer.learning_rate, or allow more of training.max_skipped_steps"
        )

    ranks.agree(job.world, refuse, prog=PROG)
    raise AssertionError("every rank refused")  # cannot happen: agree has left


def _own_part(job: Job, batch: RankBatch, local: Gradients) -> dict[str, Any]:
    terms = _bad_terms(job.objective.names, local)
    return {
        "finite": not terms and bool(np.isfinite(job.step.norm(local))),
        "terms": terms,
        "rows": batch.rows.tolist(),
        "keys": [key.tobytes().hex() for key in batch.keys],
    }


def _bad_terms(names: tuple[str, ...], gradients: Gradients) -> list[str]:
    finite = np.isfinite(np.asarray(gradients.sums))
    return [name for name, good in zip(names, finite, strict=True) if not good]


def _what(names: tuple[str, ...], total: Gradients) -> str:
    if terms := _bad_terms(names, total):
        return f"the loss of {', '.join(terms)} is not finite"
    return "the gradient is not finite"


def _append(job: Job, line: dict[str, Any]) -> None:
    with open(job.run.path / FILE, "a", encoding="ascii") as file:
        file.write(json.dumps(line) + "\n")
