"""The table of `bench.quality`: means, 95 % intervals over seeds, verdicts. No TensorFlow.

A row is compared with its partner seed by seed: both trained from the same start on the same
batches with the same dropout, so what seeds have in common drops out of the difference.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._quality_arms import ARMS, Arm

__all__ = ["LIMIT", "Interval", "Line", "interval", "markdown", "read_lines", "verdict"]

LIMIT = 0.01
"""The claim: held-out cross-entropy and KL within this share of those of full logits."""

Line = Mapping[str, Any]
"""One training: arm, seed, steps, setup, cross_entropy, accuracy, kl, ..."""

# Two-sided 95 % points of Student's t with 1, 2, ... degrees of freedom; beyond the last one it is
# used as it is, which makes intervals a little too wide.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds and its 95 % interval, of half that width; nan with one seed."""

    mean: float
    """Over seeds."""
    half: float
    """Half of the interval's width."""

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.half


def interval(values: Sequence[float]) -> Interval:
    """Of a mean, by Student's t: mean +- t sd / sqrt(n)."""
    n = len(values)
    if n == 1:
        return Interval(mean=values[0], half=math.nan)
    t = _T[min(n - 1, len(_T)) - 1]
    return Interval(mean=statistics.mean(values), half=t * statistics.stdev(values) / math.sqrt(n))


def verdict(change: Interval, *, limit: float = LIMIT) -> str:
    """Whether a row is at most `limit` worse than its partner in a measure.

    yes: the interval ends below the limit. no: it begins above it. open: else, or with one seed,
    since the seeds do not decide.
    """
    if math.isnan(change.half):
        return "one seed"
    if change.high <= limit:
        return "yes"
    return "no" if change.low > limit else "open"


def read_lines(path: Path) -> list[Line]:
    """The trainings that a file holds; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = []
    texts = path.read_text().splitlines()
    for number, text in enumerate(texts):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            if number < len(texts) - 1:
                raise ValueError(f"{path}:{number + 1}: no JSON line") from None
    return lines


def markdown(lines: Sequence[Line], *, steps: int) -> str:
    """The table of the trainings of so many steps, in the order of `ARMS`."""
    by_arm: dict[str, dict[int, Line]] = {}
    for line in lines:
        if line["steps"] == steps:
            by_arm.setdefault(line["arm"], {})[line["seed"]] = line
    rows = [
        "| labels | B a position | seeds | cross-entropy | accuracy | KL | cross-entropy against "
        "its partner | KL against its partner | within 1 % in cross-entropy | in KL |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in ARMS.items():
        if name in by_arm:
            partner = by_arm.get(arm.against, {}) if arm.against is not None else {}
            rows.append(_row(arm, by_arm[name], partner))
    return "\n".join(rows)


def changes(mine: Mapping[int, Line], partner: Mapping[int, Line], name: str) -> list[float]:
    """(mine - partner's) / partner's of a measure, for each seed that both have."""
    both = sorted(mine.keys() & partner.keys())
    return [mine[seed][name] / partner[seed][name] - 1.0 for seed in both]


def _row(arm: Arm, mine: Mapping[int, Line], partner: Mapping[int, Line]) -> str:
    def mean(name: str, digits: int) -> str:
        return _plus_minus(interval([line[name] for line in mine.values()]), digits=digits)

    measures = (mean("cross_entropy", 4), mean("accuracy", 4), mean("kl", 5))
    size = next(iter(mine.values())).get("bytes_per_position")
    cells = [arm.title, "" if size is None else f"{size:.0f}", str(len(mine)), *measures]
    if not mine.keys() & partner.keys():
        return f"| {' | '.join([*cells, '', '', '', ''])} |"
    found = [interval(changes(mine, partner, name)) for name in ("cross_entropy", "kl")]
    judged = map(verdict, found) if arm.judged else ("", "")
    return f"| {' | '.join([*cells, *map(_percent, found), *judged])} |"


def _plus_minus(found: Interval, *, digits: int) -> str:
    half = "" if math.isnan(found.half) else f" ± {found.half:.{digits}f}"
    return f"{found.mean:.{digits}f}{half}"


def _percent(change: Interval) -> str:
    mean = f"{100 * change.mean:+.2f} %"
    if math.isnan(change.half):
        return mean
    return f"{mean} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
