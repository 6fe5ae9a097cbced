"""What an evaluation decides: whether it is the best so far, and whether to go on."""

import dataclasses
from typing import Any

from limbeck import ranks
from train.checkpoints.best import better
from train.checkpoints.checkpoint import Progressed
from train.recipe import Training

__all__ = ["gave_up", "judged", "verdict"]


def judged(progressed: Progressed, scores: Any, training: Training) -> tuple[Progressed, bool]:
    """Notes an evaluation; whether it is the best so far and its checkpoint is to be kept.

    The leader decides for all ranks: what follows is a collective.
    """
    best = better(progressed.best, scores, name=training.best_metric, step=progressed.step)
    is_better = best is not progressed.best
    improved = bool(ranks.broadcast_bytes(b"improved" if is_better else b""))
    stale = 0 if improved else progressed.stale + 1
    return dataclasses.replace(progressed, best=best, stale=stale), improved and training.keep_best


def gave_up(progressed: Progressed, training: Training) -> bool:
    """Whether the run has ended early: `training.patience` evaluations were no better."""
    return 0 < training.patience <= progressed.stale and progressed.step < training.steps


def verdict(progressed: Progressed, training: Training) -> str:
    """What is said of a run that is complete."""
    if not gave_up(progressed, training):
        return f"all {progressed.step} steps are done"
    text = (
        f"stopped early after step {progressed.step} of {training.steps}: {progressed.stale} "
        f"evaluation(s) in a row without a better {training.best_metric}"
    )
    best = progressed.best
    return text if best is None else f"{text} than {best.value:.4g} after step {best.step}"
