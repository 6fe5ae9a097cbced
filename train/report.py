"""`python -m train report`: runs side by side, as lines for the terminal and a page."""

import os
from collections.abc import Sequence
from typing import Any

from limbeck.config.command import before_work
from limbeck.config.errors import UsageError
from limbeck.pages import write_page
from train.json_file import write_json
from train.reports.page import build_page, score_names, summary_rows
from train.reports.run_record import RunRecord, read_runs

__all__ = ["MOST_RUNS", "report_runs"]

MOST_RUNS = 18  # that lines of a chart can tell apart
PAGE = "report.html"


def report_runs(paths: Sequence[str], *, html: str | None, json_file: str | None) -> list[str]:
    """Writes the page of some runs; returns the lines to print.

    Args:
      paths: directories of runs.
      html: the page; None for `report.html` in the directory of one run, in the one that holds all
        of several runs, else in the working directory.
      json_file: what the lines say, for programs; None for no file.

    Raises:
      UsageError: no runs, too many, or a directory that holds none.
      LimbeckError: a run's metrics are damaged.
    """
    if not paths:
        raise UsageError("name at least one run's directory")
    if len(paths) > MOST_RUNS:
        raise UsageError(f"{len(paths)} runs; at most {MOST_RUNS} can be told apart on one page")
    with before_work():
        runs = read_runs(paths)
    page = html or _page_path(runs)
    write_page(page, build_page(runs))
    if json_file is not None:
        write_json(json_file, [_plain(run, runs) for run in runs])
    return [*_lines(*summary_rows(runs)), f"page  {page}"]


def _page_path(runs: Sequence[RunRecord]) -> str:
    if len(runs) == 1:
        return str(runs[0].path / PAGE)
    parents = {run.path.parent for run in runs}
    return str(parents.pop() / PAGE) if len(parents) == 1 else os.path.join(os.curdir, PAGE)


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width; names left, numbers right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if i in (0, 2) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]


def _plain(run: RunRecord, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """What is known of a run at its end, as JSON has it."""
    best = {name: run.best(name) for name in score_names(runs)}
    return {
        "run": str(run.path),
        "name": run.name,
        "step": run.step,
        "steps": run.num_steps,
        "complete": run.is_complete,
        "training_hours": run.hours.last,
        "last": {name: _known(curve.last) for name, curve in sorted(run.curves.items())},
        "best": {n: {"value": b[0], "step": b[1]} for n, b in best.items() if b is not None},
    }


def _known(value: float) -> float | str:
    """Numbers as metrics.jsonl writes them."""
    return value if abs(value) < float("inf") else str(value)
