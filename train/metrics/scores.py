"""What an evaluation found. No TensorFlow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Scores", "joined"]

_SHORT = {"cross_entropy": "ce"}
_UNITS = {
    "masked": "masked tokens",
    "next": "next tokens",
    "tags": "tagged tokens",
    "span": "questions",
}


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over the entries of all rows; nan where there are none."""

    values: Mapping[str, float]
    """Metric, by its name behind `eval/` -> value."""

    counts: Mapping[str, int]
    """Part of the data -> entries: `masked`, `next`, `class`, ..., `kl` and each comparison."""

    @property
    def accuracy(self) -> float | None:
        """Share of the entries whose label is the likeliest answer; ties go to the lower id."""
        return self.values.get("accuracy")

    @property
    def cross_entropy(self) -> float | None:
        """To the labels, nats."""
        return self.values.get("cross_entropy")

    @property
    def kl(self) -> float | None:
        """KL(teacher || student) at T = 1, nats; None without a teacher's distributions."""
        return self.values.get("kl")

    @property
    def cosines(self) -> Mapping[str, float]:
        """Comparison -> cosine of the student's states and the teacher's, 1: same direction."""
        start = "cosine_"
        return {n.removeprefix(start): v for n, v in self.values.items() if n.startswith(start)}

    @property
    def positions(self) -> int:
        """Entries of the first part."""
        return next(iter(self.counts.values()), 0)

    @property
    def unit(self) -> str:
        """What the first part counts."""
        name = next(iter(self.counts), "")
        return next((u for n, u in _UNITS.items() if name == n or name.startswith(f"{n}_")), "rows")

    def metrics(self) -> dict[str, float]:
        """By the names of `limbeck.runs.names`."""
        values = {f"eval/{name}": value for name, value in self.values.items()}
        return values | {f"eval/count_{name}": count for name, count in self.counts.items()}

    def text(self) -> str:
        """In one line."""
        known = {name: value for name, value in self.values.items() if not math.isnan(value)}
        parts = [f"{_short(name)} {value:.4f}" for name, value in (known or self.values).items()]
        return f"{' '.join(parts)} over {self.positions} {self.unit}"


def joined(parts: Sequence[Scores]) -> Scores:
    """Those of several sets of rows, whose names differ."""
    return Scores(
        values={name: value for part in parts for name, value in part.values.items()},
        counts={name: count for part in parts for name, count in part.counts.items()},
    )


def _short(name: str) -> str:
    if name.startswith("cosine_"):
        return f"cosine {name.removeprefix('cosine_')}"
    return _SHORT.get(name, name)
