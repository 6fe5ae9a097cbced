"""The results table: a row a finished recipe, its student beside the baseline of equal steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.recipes.identity import describe_student
from launch.recipes.lineage import Lineage
from launch.recipes.method import Baseline, Evaluate, Method, Train
from launch.recipes.place import Place
from launch.recipes.trainings import compared, steps_of
from limbeck import __version__
from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_write

__all__ = ["JSONL", "TABLE", "Metric", "append", "beats", "markdown", "make_row", "read_rows"]

JSONL = "results.jsonl"
TABLE = "results.md"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is shown."""

    title: str
    """Above its column."""
    form: str
    """Of its numbers."""


METRICS = {
    "accuracy": Metric(title="accuracy", form=".1%"),
    "cross_entropy": Metric(title="cross-entropy (nat)", form=".3f"),
    "kl_to_teacher": Metric(title="KL to teacher (nat)", form=".4f"),
}


def make_row(
    method: Method, place: Place, lineage: Lineage, *, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """One line of results.jsonl.

    Args:
      method: the recipe.
      place: where it stands.
      lineage: of its outputs.
      settings: `STEP.SETTING=VALUE` that were replaced; the recipe then has a row of its own.

    Raises:
      LimbeckError: scores are not there, or lack a metric that the recipe wants shown.
    """
    scores_step = method.step(method.compare.scores)
    assert isinstance(scores_step, Evaluate)
    directory = Path(lineage.outputs[scores_step.name].path)
    scores = {
        name: _scores(directory / f"{name}.json", method.compare.shown)
        for name in scores_step.models
    }
    chain, _ = compared(method)
    baselines = {step.name for step in method.steps if isinstance(step, Baseline)}
    seconds = {name: output.seconds for name, output in lineage.outputs.items()}
    return {
        "recipe": place.name,
        "set": [f"{n}={v}" for n, v in sorted(dict(s.split("=", 1) for s in settings).items())],
        "student": describe_student(Path(lineage.outputs[chain[-1].name].path)) if chain else "",
        "steps": sum(steps_of(step, method, place) for step in chain),
        "seconds": sum(s for name, s in seconds.items() if name not in baselines),
        "baseline_seconds": sum(seconds[name] for name in baselines),
        "training_seconds": sum(seconds[s.name] for s in chain if isinstance(s, Train)),
        "metric": method.compare.metric,
        "scores": scores,
        "beats_baseline": beats(method, scores),
        "note": method.compare.note,
        "outputs": {name: output.id for name, output in lineage.outputs.items()},
        "version": __version__,
    }


def beats(method: Method, scores: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the student is better than its baseline in the recipe's metric."""
    metric = method.compare.metric
    student, baseline = scores["student"][metric], scores["baseline"][metric]
    return student < baseline if method.compare.better == "lower" else student > baseline


def read_rows(out: Path) -> list[dict[str, Any]]:
    """Every row so far.

    Raises:
      LimbeckError: the file is damaged.
    """
    file = out / JSONL
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except ValueError as error:
        raise LimbeckError(f"{file}: a line is no JSON ({error}); mend or remove it") from error


def append(out: Path, row: Mapping[str, Any]) -> bool:
    """Adds a row unless the last of its recipe and settings is of the same outputs.

    The table is written too.

    Returns:
      Whether it was added.
    """
    rows = read_rows(out)
    last = next((r for r in reversed(rows) if _name(r) == _name(row)), None)
    is_new = last is None or last["outputs"] != row["outputs"]
    if is_new:
        rows.append(dict(row))
        lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        atomic_write(out / JSONL, lines.encode())
    atomic_write(out / TABLE, (markdown(rows) + "\n").encode())
    return is_new


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for each set of metrics: the newest row of each recipe as it was set."""
    newest = {_name(row): row for row in rows}
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in newest.values():
        groups.setdefault(tuple(row["scores"]["student"]), []).append(row)
    return "\n\n".join(_table(metrics, group) for metrics, group in groups.items())


def _table(metrics: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [METRICS.get(name, Metric(title=name, form=".4f")) for name in metrics]
    head = ["recipe", "student", "steps", "s", *(m.title for m in shown), "beat the baseline"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (2 + len(shown)) + "---|"]
    for row in rows:
        cells = [_name(row), row["student"], str(row["steps"]), f"{row['seconds']:.0f}"]
        for name, metric in zip(metrics, shown, strict=True):
            student, baseline = (row["scores"][who][name] for who in ("student", "baseline"))
            cells.append(f"{student:{metric.form}} ({baseline:{metric.form}})")
        verdict = f"{'yes' if row['beats_baseline'] else 'no'}, in {row['metric']}"
        cells.append(f"{verdict}; {row['note']}" if row["note"] else verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "In brackets: the same student without its teacher."])


def _name(row: Mapping[str, Any]) -> str:
    """The recipe, with what was set in it: `minilm_v2, student.training.steps=20`."""
    return ", ".join([row["recipe"], *(text.replace("|", "\\|") for text in row.get("set", []))])


def _scores(file: Path, metrics: Sequence[str]) -> dict[str, float]:
    plain = json.loads(file.read_text())
    numbers = {
        name: float(value)
        for name, value in {**plain.get("metrics", {}), **plain}.items()
        if isinstance(value, int | float)
    }
    if missing := [name for name in metrics if name not in numbers]:
        known = ", ".join(sorted(numbers))
        raise LimbeckError(f"{file}: has no {missing[0]!r}; compare.shown may name {known}")
    return {name: numbers[name] for name in metrics}
