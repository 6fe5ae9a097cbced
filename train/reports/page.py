"""The page of a report: runs side by side, as tables and charts."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from limbeck import __version__
from limbeck.pages import Markup, Page, Section, element, figure_row, notes, table
from limbeck.runs import metric
from limbeck.runs.progress import compact, duration
from train.reports.curves import metric_chart, metric_names, metric_title, time_chart, value_text
from train.reports.run_record import RunRecord

__all__ = ["SCORES", "build_page", "summary_rows"]

SCORES = ("eval/accuracy", "eval/cross_entropy", "eval/kl")
SPEEDS = ("speed/tokens_per_s", "speed/step_s", "speed/data_share", "speed/comm_share")


def build_page(runs: Sequence[RunRecord]) -> Page:
    """Puts a report together.

    Args:
      runs: at least one; with lines or without.
    """
    sections = [Section(title="Runs", body=[*_summaries(runs), *_remarks(runs)])]
    if scores := score_names(runs):
        sections.append(_heldout(runs, scores))
    if any("train/loss" in run.curves for run in runs):
        sections += [_losses(runs), _optimiser(runs)]
    if any(name in run.curves for run in runs for name in SPEEDS):
        sections.append(_speed(runs))
    sections.append(_settings(runs))
    names = ", ".join(run.name for run in runs)
    return Page(
        title=f"Training: {names}" if len(runs) <= 3 else f"Training: {len(runs)} runs",
        lead="What the metrics of these runs say; losses of terms are means before their weights.",
        facts=_facts(runs),
        sections=sections,
        foot=f"limbeck {__version__}, of {', '.join(str(run.path) for run in runs)}",
    )


def score_names(runs: Sequence[RunRecord]) -> list[str]:
    """Metrics of held-out data that are a score."""
    others = ("eval/count_", "eval/seconds")
    return [name for name in metric_names(runs, "eval/") if not name.startswith(others)]


def summary_rows(runs: Sequence[RunRecord]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the table that tells the runs apart at a glance."""
    scores = [name for name in score_names(runs) if name in SCORES or "cosine" in name]
    heads = ["run", "steps", "state", "loss", *(_short(name) for name in scores), "tokens/s"]
    rows = []
    for run in runs:
        loss, speed = run.curves.get("train/loss"), run.curves.get("speed/tokens_per_s")
        rows.append(
            [
                run.name,
                f"{run.step:,}" + (f"/{run.num_steps:,}" if run.num_steps else ""),
                "complete" if run.is_complete else "not complete" if run.curves else "no lines yet",
                "" if loss is None else value_text(loss.tail),
                *(value_text(run.curves[n].last) if n in run.curves else "" for n in scores),
                "" if speed is None else compact(float(np.nanmedian(speed.values))),
            ]
        )
    return heads, rows


def _facts(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    if len(runs) > 1:
        return []
    (run,) = runs
    facts = [("steps", f"{run.step:,} of {run.num_steps:,}" if run.num_steps else f"{run.step:,}")]
    facts += [
        ("ranks", str(run.num_ranks)),
        ("training time", duration(3600.0 * run.hours.last)),
        ("last line", _when(run)),
    ]
    for name in SCORES:
        if best := run.best(name):
            facts.append((f"best {_short(name)}", f"{value_text(best[0])} at step {best[1]:,}"))
    return facts


def _summaries(runs: Sequence[RunRecord]) -> list[Markup]:
    """How good the runs are, and how they went."""
    heads, rows = summary_rows(runs)
    caption = (
        "Loss is the mean over the last tenth of the lines, scores are those of the last "
        "evaluation, speed is the median"
    )
    went = []
    for run in runs:
        skipped = run.curves.get("train/skipped")
        went.append(
            [
                run.name,
                duration(3600.0 * run.hours.last),
                str(run.num_ranks),
                str(run.num_starts),
                "" if skipped is None else f"{skipped.last:,.0f}",
                str(run.num_quarantined),
                _when(run),
            ]
        )
    more = ["run", "training time", "ranks", "starts", "updates left out", "rows left out"]
    return [
        table(heads, rows, caption=caption),
        table(
            [*more, "last line"],
            went,
            caption="Training time is that of the steps, without compiling and evaluating",
        ),
    ]


def _remarks(runs: Sequence[RunRecord]) -> list[Markup]:
    """What keeps numbers of these runs from being compared."""
    lines = []
    for where, what in (
        ("heldout", "scores are of unlike examples"),
        ("heldout_labels", "KL and cosines are to unlike labels"),
    ):
        values = {_plain(run.config.get("data", {}).get(where)) for run in runs}
        if len(values) > 1:
            lines.append(f"data.{where} differs between the runs: {what}.")
    if len({tuple(run.term_scales.items()) for run in runs}) > 1:
        lines.append("The objectives differ: compare single terms, not the whole loss.")
    for run in runs:
        if not run.curves:
            lines.append(f"{run.name} has written no metrics yet.")
        elif run.recipe is None:
            lines.append(f"The settings of {run.name} are not of this version.")
    return [notes(lines)] if lines else []


def _heldout(runs: Sequence[RunRecord], scores: Sequence[str]) -> Section:
    charts = [metric_chart(runs, name) for name in scores]
    if len(runs) > 1:
        charts += [
            time_chart(runs, name) for name in ("eval/cross_entropy", "eval/kl") if name in scores
        ]
    rows: list[list[object]] = []
    for name in scores:
        for run in runs:
            if name not in run.curves:
                continue
            best = run.best(name)
            rows.append(
                [
                    metric_title(name),
                    run.name,
                    value_text(run.curves[name].last),
                    value_text(best[0]) if best else "",
                    f"{best[1]:,}" if best else "",
                    _count(run, name),
                ]
            )
    heads = ["score", "run", "last", "best", "at step", "positions"]
    return Section(
        title="Held-out data",
        body=[figure_row(*charts), table(heads, rows, caption="Last and best evaluation")],
    )


def _losses(runs: Sequence[RunRecord]) -> Section:
    terms = metric_names(runs, "train/loss_")
    charts = [metric_chart(runs, name) for name in ("train/loss", *terms)]
    rows: list[list[object]] = []
    for run in runs:
        ends = {n.removeprefix("train/loss_"): run.curves[n].tail for n in terms if n in run.curves}
        parts = {n: end * run.term_scales[n] for n, end in ends.items() if n in run.term_scales}
        whole = sum(parts.values())
        for name, end in ends.items():
            scale, part = run.term_scales.get(name), parts.get(name)
            share = None if part is None or not whole > 0 else f"{part / whole:.1%}"
            shown = None if scale is None else f"{scale:g}"
            rows.append([run.name, name, value_text(end), shown, value_text(part), share])
    heads = ["run", "term", "mean", "weight x tau^2", "in the loss", "share"]
    caption = "Terms over the last tenth of the lines, and what each adds to the objective"
    return Section(
        title="Training losses",
        body=[figure_row(*charts), table(heads, rows, caption=caption)],
    )


def _optimiser(runs: Sequence[RunRecord]) -> Section:
    names = ("train/gradient_norm", "train/learning_rate", "train/skipped")
    charts = []
    for name in names:
        found = [run.curves[name] for run in runs if name in run.curves]
        if found and (name != "train/skipped" or any(curve.last > 0 for curve in found)):
            charts.append(metric_chart(runs, name))
    return Section(title="Updates", body=[figure_row(*charts)])


def _speed(runs: Sequence[RunRecord]) -> Section:
    there = [name for name in SPEEDS if any(name in run.curves for run in runs)]
    rows: list[list[object]] = []
    for run in runs:
        cells: list[object] = [run.name, run.num_ranks]
        for name in there:
            curve = run.curves.get(name)
            middle = None if curve is None else float(np.nanmedian(curve.values))
            is_share = metric(name).name.endswith("_share")
            cells.append(f"{middle:.1%}" if middle is not None and is_share else middle)
        rows.append(cells)
    heads = ["run", "ranks", *(_short(name) for name in there)]
    return Section(
        title="Speed",
        body=[
            figure_row(*(metric_chart(runs, name) for name in there)),
            table(heads, rows, caption="Medians; the step that compiles is left out"),
        ],
    )


def _settings(runs: Sequence[RunRecord]) -> Section:
    flat = [_flat(run.config) for run in runs]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    names = [run.name for run in runs]
    cells = {key: [one.get(key, "not there") for one in flat] for key in keys}
    unlike = [[key, *values] for key, values in cells.items() if len(set(values)) > 1]
    alike = [[key, values[0]] for key, values in cells.items() if len(set(values)) == 1]
    body: list[str] = []
    if len(runs) > 1:
        text = "What differs" if unlike else "No setting differs"
        body.append(table(["setting", *names], unlike, caption=text))
    body.append(
        element(
            "details",
            None,
            element("summary", None, "All settings" if len(runs) == 1 else "Equal settings"),
            table(["setting", "value"], alike, caption="As config.json has them"),
        )
    )
    return Section(title="Settings", body=body)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Settings by dotted names; lists are indexed from 0, as `--set` has it."""
    items: Mapping[str, Any] | None = None
    if isinstance(value, Mapping) and value:
        items = value
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        items = {str(index): part for index, part in enumerate(value)}
    if items is None:
        return {prefix: _plain(value)}
    found: dict[str, str] = {}
    for key, part in items.items():
        found |= _flat(part, f"{prefix}.{key}" if prefix else str(key))
    return found


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _short(name: str) -> str:
    """`cross-entropy` of `eval/cross_entropy`."""
    return name.partition("/")[2].replace("cross_entropy", "cross-entropy").replace("_", " ")


def _count(run: RunRecord, name: str) -> str:
    """How many positions a score is a mean over."""
    part = name.removeprefix("eval/").removeprefix("cosine_")
    counts = [run.curves.get(f"eval/count_{key}") for key in (part, "masked")]
    return next((f"{curve.last:,.0f}" for curve in counts if curve is not None), "")


def _when(run: RunRecord) -> str:
    if run.written is None:
        return "none"
    return datetime.fromtimestamp(run.written, UTC).strftime("%Y-%m-%d %H:%M UTC")
