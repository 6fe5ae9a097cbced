"""A run as its directory tells it: settings, curves, counts. No TensorFlow.

Runs that are still going, that were killed, or that other versions of ours made are read as far as
they go.
"""

# n points of a curve

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.runs import RunDirectory, metric, read_metrics
from train.checkpoints import checkpoint
from train.checkpoints.judge import gave_up
from train.recipe import Recipe, term_names

__all__ = ["Curve", "RunRecord", "read_runs"]

TAIL_SHARE = 0.1  # of a run's lines: what "at the end" means for values of single batches


@dataclass(frozen=True, eq=False)
class Curve:
    """One metric over the steps of a run."""

    steps: npt.NDArray[np.int64]
    """(n,) ascending."""

    values: npt.NDArray[np.float64]
    """(n,); nan and inf as they were recorded."""

    @property
    def last(self) -> float:
        """The last value."""
        return float(self.values[-1])

    @property
    def tail(self) -> float:
        """Mean of what is finite among the last tenth of the values; nan where nothing is."""
        last = self.values[-max(1, round(TAIL_SHARE * len(self.values))) :]
        finite = last[np.isfinite(last)]
        return float(finite.mean()) if len(finite) else float("nan")

    @property
    def num_broken(self) -> int:
        """Values that are not finite."""
        return int((~np.isfinite(self.values)).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """One run."""

    name: str
    """Tells it from the other runs of a report."""

    path: Path
    """Its directory."""

    config: Mapping[str, Any]
    """Its settings as plain values."""

    recipe: Recipe | None
    """The same; None where this version does not read them."""

    curves: Mapping[str, Curve]
    """By metric."""

    hours: Curve
    """Hours of training up to a step; compiling and evaluating not counted."""

    written: float | None
    """When the last line was, in seconds since 1970; None without lines."""

    num_starts: int
    """Processes that trained it, one after the other."""

    num_quarantined: int
    """Damaged rows left out."""

    ended_early: bool = False
    """Whether its stop rule ended it (`training.patience`)."""

    @property
    def step(self) -> int:
        """Updates done, as far as the metrics say."""
        return max((int(curve.steps[-1]) for curve in self.curves.values()), default=0)

    @property
    def num_steps(self) -> int:
        """Of the whole run; 0 where its settings do not say."""
        return int(self.config.get("training", {}).get("steps", 0))

    @property
    def is_complete(self) -> bool:
        """Whether its last step was made, or its stop rule ended it before."""
        return self.ended_early or 0 < self.num_steps <= self.step

    @property
    def num_ranks(self) -> int:
        """Ranks that trained together, when it last said so."""
        names = ("speed/tokens_per_s", "speed/tokens_per_s_per_rank")
        if not all(name in self.curves for name in names):
            return 1
        whole, each = (self.curves[name].last for name in names)
        return max(1, round(whole / each)) if each > 0 else 1

    @property
    def term_scales(self) -> Mapping[str, float]:
        """Name of a term -> what multiplies it in the objective; empty where nobody knows."""
        if self.recipe is None:
            return {}
        terms = self.recipe.objective
        return {name: t.scale_at(0.0) for name, t in zip(term_names(terms), terms, strict=True)}

    def best(self, name: str) -> tuple[float, int] | None:
        """The best value and its step, the first of equals; None without values or direction."""
        curve, upwards = self.curves.get(name), metric(name).higher_is_better
        if curve is None or upwards is None or not np.isfinite(curve.values).any():
            return None
        values = np.where(np.isfinite(curve.values), curve.values, -np.inf if upwards else np.inf)
        at = int(np.argmax(values) if upwards else np.argmin(values))
        return float(values[at]), int(curve.steps[at])


def read_runs(paths: Sequence[str]) -> list[RunRecord]:
    """Reads runs; each gets the shortest name that tells it from the others.

    Raises:
      UsageError: no run there, or one that is named twice.
      LimbeckError: its metrics are damaged; names file and line.
    """
    whole = [Path(os.path.abspath(path)) for path in paths]
    if twice := [path for path in whole if whole.count(path) > 1]:
        raise UsageError(f"{twice[0]} is named twice")
    return [_read(path, name) for path, name in zip(whole, _names(whole), strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    names = []
    for path in paths:
        parts = 1
        while any(_end(other, parts) == _end(path, parts) for other in paths if other != path):
            parts += 1
        names.append(_end(path, parts))
    return names


def _end(path: Path, parts: int) -> str:
    return "/".join(path.parts[-parts:])


def _read(path: Path, name: str) -> RunRecord:
    run = RunDirectory(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such directory; give a run's directory")
    config = run.read_config()
    try:
        recipe = yaml_file.from_plain(Recipe, config, str(run.config_file))
    except UsageError:
        recipe = None
    points: dict[str, tuple[list[int], list[float]]] = {}
    written, known = None, set[str]()
    for line in read_metrics(run.metrics_file) if run.metrics_file.exists() else ():
        step, written = line.pop("step"), line.pop("wall_time", written)
        for key, value in line.items():
            if key in known or (key != "config" and _is_metric(key)):
                known.add(key)
                steps, values = points.setdefault(key, ([], []))
                steps.append(step)
                values.append(float(value))
    curves = {
        key: Curve(np.array(steps, np.int64), np.array(values, np.float64))
        for key, (steps, values) in points.items()
    }
    quarantine = path / "quarantine.jsonl"
    return RunRecord(
        name=name,
        path=path,
        config=config,
        recipe=recipe,
        curves=curves,
        hours=_hours(curves),
        written=written,
        num_starts=sum(1 for _ in run.tensorboard.glob("events.out.tfevents.*")),
        num_quarantined=len(quarantine.read_bytes().splitlines()) if quarantine.exists() else 0,
        ended_early=recipe is not None and _ended_early(run, recipe),
    )


def _ended_early(run: RunDirectory, recipe: Recipe) -> bool:
    """Whether the newest checkpoint is of a run that its stop rule has ended."""
    newest = checkpoint.list_checkpoints(run.checkpoints)[:1] if recipe.training.patience else []
    progressed = checkpoint.peek(newest[0]) if newest else None
    return progressed is not None and gave_up(progressed, recipe.training)


def _is_metric(name: str) -> bool:
    """Whether this version knows the name."""
    try:
        metric(name)
    except ValueError:
        return False
    return True


def _hours(curves: Mapping[str, Curve]) -> Curve:
    """Adds up the time of the steps between lines; a line without it compiled and adds none."""
    loss = curves.get("train/loss")
    if loss is None:
        return Curve(np.zeros(1, np.int64), np.zeros(1))
    seconds = curves.get("speed/step_s", Curve(np.zeros(0, np.int64), np.zeros(0)))
    each = dict(zip(seconds.steps.tolist(), seconds.values.tolist(), strict=True))
    lengths = np.diff(loss.steps, prepend=0)
    spent = [n * each.get(s, 0.0) for s, n in zip(loss.steps.tolist(), lengths, strict=True)]
    return Curve(loss.steps, np.cumsum(spent) / 3600.0)
