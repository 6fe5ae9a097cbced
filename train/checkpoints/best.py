"""The best evaluation of a run so far, by `training.best_metric`; checkpoints remember it."""

import math
from dataclasses import dataclass
from typing import Any

from limbeck.runs.names import metric

__all__ = ["Best", "better"]


@dataclass(frozen=True, kw_only=True)
class Best:
    """One evaluation on held-out data."""

    metric: str
    """What was compared, as the recipe names it."""

    value: float
    """Of that metric; finite."""

    step: int
    """Updates done when it was evaluated."""


def better(best: Best | None, scores: Any, *, name: str, step: int) -> Best | None:
    """The better of the best so far and an evaluation; of equal ones the earlier.

    Args:
      best: so far; None before the first evaluation.
      scores: with `metrics()` (`train.evaluate.Scores`), or an attribute of the metric's name.
      name: the metric, after `eval/`; `limbeck.runs.names` says which direction is better.
      step: of the evaluation.

    Returns:
      `best` itself where it stands; a value that is not finite never is the best.
    """
    metrics: dict[str, float] = getattr(scores, "metrics", dict)()
    value = metrics.get(f"eval/{name}", getattr(scores, name, None))
    if value is None:
        raise ValueError(f"the evaluation has no {name}")
    if not math.isfinite(value):
        return best
    if best is not None:
        higher = metric(f"eval/{name}").higher_is_better
        if not (value > best.value if higher else value < best.value):
            return best
    return Best(metric=name, value=float(value), step=step)
