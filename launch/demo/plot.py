"""The demonstration's picture: what the student learned with and without its teacher."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.records.files import atomic_file


def plot(report: Mapping[str, Any], path: Path, *, curves: Mapping[str, Path]) -> None:
    """Draws the training curves and the held-out comparison as one PNG.

    Args:
      report: the finished report.
      path: the PNG to write.
      curves: by model name, the `metrics.jsonl` of its training.
    """
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, metrics in curves.items():
        steps, values = read_curve(metrics, "train/loss_mlm")
        left.plot(steps, values, label=name)
    left.set(
        title="Hard masked-token loss while training",
        xlabel="optimiser step",
        ylabel="cross-entropy, nats per masked token",
    )
    left.legend()
    evaluation = report["evaluation"]
    names = [name for name in ("student", "baseline", "unigram") if name in evaluation]
    right.bar(names, [evaluation[name]["kl_to_teacher"] for name in names], color="tab:green")
    right.set(
        title="Held-out pages: distance from the teacher (lower is nearer)",
        ylabel="KL(teacher || model), nats per masked token",
    )
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)


def read_curve(metrics: Path, name: str) -> tuple[list[int], list[float]]:
    """Reads one metric's steps and values from a run's `metrics.jsonl`."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    points = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in points], [value for _, value in points]
