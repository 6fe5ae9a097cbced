"""Charts of one metric over several runs: thinned, with the finding as a sentence."""

# n points of a curve

from collections.abc import Sequence

import numpy as np

from limbeck.pages import Markup, Series, line_chart, number_text
from limbeck.runs import metric
from train.reports.run_record import Curve, RunRecord

__all__ = ["metric_chart", "metric_names", "metric_title", "thinned", "time_chart", "value_text"]

MOST_POINTS = 120  # of a line: more do not show at the width of a chart
LARGE_RATIO = 20.0  # of losses and norms, from which on a logarithmic axis shows more

TITLES = {
    "eval/accuracy": "Masked accuracy",
    "eval/cross_entropy": "Cross-entropy",
    "eval/kl": "KL to the teacher",
    "train/loss": "Whole objective",
    "train/gradient_norm": "Gradient norm",
    "train/learning_rate": "Learning rate",
    "train/skipped": "Updates left out",
    "speed/tokens_per_s": "Tokens per second",
    "speed/step_s": "Seconds a step",
    "speed/data_share": "Share of the time waiting for data",
    "speed/comm_share": "Share of the time in collectives",
}


def metric_names(runs: Sequence[RunRecord], prefix: str) -> list[str]:
    """Metrics of any run that begin with a prefix, in the order they were written."""
    return list(dict.fromkeys(n for run in runs for n in run.curves if n.startswith(prefix)))


def metric_chart(runs: Sequence[RunRecord], name: str) -> Markup:
    """A figure with a line a run that has the metric, over steps."""
    found = [(run, run.curves[name]) for run in runs if name in run.curves]
    return _chart(name, found, [thinned(c) for _, c in found], metric_title(name), "step")


def time_chart(runs: Sequence[RunRecord], name: str) -> Markup:
    """The same over the time of training, where runs of unlike speed can be compared."""
    found = [(run, run.curves[name]) for run in runs if name in run.curves]
    is_short = max(run.hours.last for run, _ in found) < 2.0
    placed = []
    for run, curve in found:
        steps, values = thinned(curve)
        hours = np.interp(steps, run.hours.steps, run.hours.values, left=0.0)
        placed.append((hours * 60.0 if is_short else hours, values))
    unit = "minutes" if is_short else "hours"
    return _chart(name, found, placed, f"{metric_title(name)} by time", f"{unit} of training")


def thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """At most 120 points, (n,) steps and (n,) values: means of equally many neighbours.

    Where there are that few, the points themselves. What is not finite is left out of means; a
    point of nothing else is nan. The last step stays the last place.
    """
    if len(curve.steps) <= MOST_POINTS:
        return curve.steps.astype(np.float64), np.where(
            np.isfinite(curve.values), curve.values, np.nan
        )
    parts = np.array_split(np.arange(len(curve.steps)), MOST_POINTS)
    places, means = np.empty(MOST_POINTS), np.full(MOST_POINTS, np.nan)
    for number, part in enumerate(parts):
        values = curve.values[part]
        places[number] = curve.steps[part].mean()
        if np.isfinite(values).any():
            means[number] = values[np.isfinite(values)].mean()
    places[-1] = curve.steps[-1]
    return places, means


def _ends(runs: Sequence[tuple[RunRecord, Curve]], name: str) -> str:
    """The last values, best first where there is such a thing; single batches as means."""
    upwards = metric(name).higher_is_better
    is_noisy = name.startswith(("train/loss", "train/gradient_norm", "speed/"))
    ends = [(c.tail if is_noisy else c.last, run.name) for run, c in runs]
    if upwards is not None:
        ends.sort(key=lambda end: (np.isnan(end[0]), -end[0] if upwards else end[0]))
    shown = ", ".join(f"{run} {value_text(value)}" for value, run in ends[:6])
    when = "Mean of the last tenth" if is_noisy else "At the end"
    broken = [f"{run.name} has {c.num_broken}" for run, c in runs if c.num_broken]
    more = f" Not finite: {', '.join(broken)}." if broken else ""
    return (
        f"{when}: {shown}.{more}" if len(runs) > 1 else f"{when}: {value_text(ends[0][0])}.{more}"
    )


def value_text(value: float | None) -> str:
    """Four digits behind the point for what is of the size of a loss; else as axes have it."""
    if value is None:
        return ""
    if np.isnan(value):
        return "not finite"
    if 1e-3 <= abs(value) < 100.0 and not value.is_integer():
        return f"{value:.4f}"
    return number_text(value)


def _chart(
    name: str,
    found: Sequence[tuple[RunRecord, Curve]],
    placed: Sequence[tuple[np.ndarray, np.ndarray]],
    title: str,
    x_label: str,
) -> Markup:
    entry = metric(name)
    shown = np.concatenate([values for _, values in placed])
    shown = shown[np.isfinite(shown)]
    is_wide = False
    if "loss" in name or "norm" in name:
        is_wide = len(shown) > 0 and shown.min() > 0 and shown.max() > LARGE_RATIO * shown.min()
    from_zero = name.startswith("speed/") and len(shown) > 0 and shown.max() > 0
    unit = "" if entry.unit == "1" else f", {entry.unit}"
    return line_chart(
        title,
        [Series(name=r.name, x=x, y=y) for (r, _), (x, y) in zip(found, placed, strict=True)],
        x_label=x_label,
        y_label=f"{name}{unit}",
        y_scale="log" if is_wide else "linear",
        y_limits=(0.0, 1.05 * float(shown.max())) if from_zero else None,
        says=_ends(found, name),
    )


def metric_title(name: str) -> str:
    """What a chart or row of a metric is called."""
    for start, title in (("train/loss_", "Term"), ("eval/cosine_", "Cosine")):
        if name.startswith(start):
            return f"{title} {name.removeprefix(start)}"
    return TITLES.get(name, name)
