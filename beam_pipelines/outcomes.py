"""What a pipeline tells its driver: counts by name and dead letters, collected as data.

Beam's counters may count an attempt twice; elements are counted once, whatever is retried.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from limbeck.records.files import atomic_write

__all__ = ["Outcome", "Report", "WriteReport", "dead_letter", "read_report"]

Outcome = tuple[str, int, str]
"""Name of a count, how many, and a dead letter as JSON (empty for none)."""

_Accumulator = tuple[dict[str, int], list[str]]
_REPORT = "report.json"


def dead_letter(name: str, **facts: object) -> Outcome:
    """Returns the outcome of one item that could not be used."""
    return name, 1, json.dumps(facts, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All outcomes of a pipeline."""

    counts: dict[str, int]
    """Sum of each count."""
    dead_letters: list[str]
    """Dead letters, one JSON object each, sorted."""


class _Tally(beam.CombineFn):
    """Adds outcomes up."""

    def create_accumulator(self) -> _Accumulator:
        return {}, []

    def add_input(self, accumulator: _Accumulator, element: Outcome) -> _Accumulator:
        counts, letters = accumulator
        name, count, letter = element
        counts[name] = counts.get(name, 0) + count
        if letter:
            letters.append(letter)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Accumulator]) -> _Accumulator:
        total: Counter[str] = Counter()
        letters: list[str] = []
        for counts, some in accumulators:
            total.update(counts)
            letters.extend(some)
        return dict(total), letters

    def extract_output(self, accumulator: _Accumulator) -> str:
        counts, letters = accumulator
        return json.dumps({"counts": counts, "dead_letters": sorted(letters)})


class WriteReport(beam.PTransform):
    """Collections of outcomes -> a file in `scratch` that `read_report` reads."""

    def __init__(self, scratch: str) -> None:
        super().__init__()
        self._path = os.path.join(scratch, _REPORT)

    # Without annotations of Beam's types: it would take a tuple of collections for a mistake.
    def expand(self, pcolls: Any) -> Any:
        """Adds the steps to a tuple of collections."""
        return (
            pcolls
            | beam.Flatten()
            | beam.CombineGlobally(_Tally())
            | beam.Map(_write, path=self._path)
        )


def _write(report: str, *, path: str) -> None:
    atomic_write(path, report.encode())


def read_report(scratch: str) -> Report:
    """Reads what `WriteReport` wrote."""
    with open(os.path.join(scratch, _REPORT), encoding="utf-8") as file:
        value = json.load(file)
    return Report(counts=value["counts"], dead_letters=value["dead_letters"])
