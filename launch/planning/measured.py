"""How long a row took in a run that was measured, from its metrics."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.order import padded_size
from limbeck.records.canonical import differences
from limbeck.runs import STAGES, RunDirectory, read_metrics

__all__ = ["Measured", "measured_run"]

_SPEEDS = {"speed/step_s", "speed/tokens_per_s", "speed/tokens_per_s_per_rank"}
_ELSEWHERE = ("checkpoint",)  # of a model: where it lies does not decide how long a row takes


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run, or one stage of a run."""

    directory: Path
    """Where its metrics lie."""

    ranks: int
    """W."""

    rows: int
    """Rows that each rank computes at an update, padding included."""

    compute_s: float
    """Of one update on one rank, waiting for data included, without collectives."""

    changes: tuple[str, ...]
    """Where its model, objective and precision are not those of the plan."""

    def compute_seconds(self, rows: int) -> float:
        """The same for another number of rows: a row takes as long as it took there."""
        return self.compute_s * rows / self.rows

    def __str__(self) -> str:
        return (
            f"measured in {self.directory}: {self.compute_s:.4g} s for {self.rows} rows on each of "
            f"{self.ranks} rank(s), without communication"
        )


def measured_run(directory: str, stage: Mapping[str, Any]) -> Measured:
    """Reads the metrics of a run, or of the stage of that name where the plan has stages.

    The median over its lines counts; the trainer leaves each process's first step, which compiles,
    out of them.

    Args:
      directory: of the run.
      stage: of `python -m train plan`.

    Raises:
      UsageError: no run there, or none whose metrics tell its speed.
    """
    run = RunDirectory(Path(directory) / STAGES / stage["name"] if stage["name"] else directory)
    config = run.read_config()
    lines = []
    if run.metrics_file.exists():
        lines = [line for line in read_metrics(run.metrics_file) if line.keys() >= _SPEEDS]
    if not lines:
        raise UsageError(
            f"{run.metrics_file}: no line tells the speed of a step; let the run make two lines of "
            "progress at least"
        )
    try:
        training = config["training"]
        batch, micro = int(training["global_batch"]), training.get("micro_batch")
        there = {
            **{k: config[k] for k in ("model", "objective")},
            "precision": training.get("precision", "float32"),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{run.config_file}: not the settings of a training run") from error
    ranks = _ranks(lines[-1])
    whole = padded_size(batch, ranks)
    in_micro = whole if micro is None else min(int(micro), whole)
    return Measured(
        directory=run.path,
        ranks=ranks,
        rows=padded_size(whole, in_micro) * in_micro,
        compute_s=statistics.median(_compute_s(line) for line in lines),
        changes=tuple(differences(_comparable(there), _comparable(stage["settings"]))),
    )


def _ranks(line: Mapping[str, Any]) -> int:
    """How many there were: metrics have the rate of all and that of each."""
    return max(1, round(line["speed/tokens_per_s"] / line["speed/tokens_per_s_per_rank"]))


def _compute_s(line: Mapping[str, Any]) -> float:
    return float(line["speed/step_s"]) * (1.0 - float(line.get("speed/comm_share", 0.0)))


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    model = {k: v for k, v in settings["model"].items() if k not in _ELSEWHERE}
    return {**settings, "model": model}
