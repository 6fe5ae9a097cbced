"""What a pipeline tells its driver: counts by name and dead letters, collected as data.

Beam's counters may count an attempt twice; elements are counted once, whatever is retried. So the
account is made of elements. The same counts are kept as Beam metrics (namespace `limbeck`), for the
monitoring of whatever runs the pipeline.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_pipelines.storage import is_remote, join, read_bytes, write_bytes
from limbeck.config.errors import LimbeckError
from prep.accounting import DEAD

__all__ = [
    "METRICS",
    "Outcome",
    "Report",
    "WriteReport",
    "dead_letter",
    "read_report",
    "too_many_dead_letters",
]

METRICS = "limbeck"
"""Namespace of the counters in Beam's metrics."""

Outcome = tuple[str, int, str]
"""Name of a count, how many, and a dead letter as JSON (empty for none)."""

_Accumulator = tuple[dict[str, int], list[str]]
_REPORT = "report.json"
_NOTHING: Outcome = ("", 0, "")


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


def too_many_dead_letters(counts: Mapping[str, int], limit: int, *, example: str = "") -> str:
    """Returns what to say when a dataset has more dead letters than the limit; empty if none has.

    Args:
      counts: outcomes by name, as `DATASET/dead:REASON`.
      limit: of the dead letters of one dataset.
      example: one of them.
    """
    reasons: dict[str, Counter[str]] = {}
    for name, count in counts.items():
        dataset, _, rest = name.partition("/")
        if rest.startswith(DEAD):
            reasons.setdefault(dataset, Counter())[rest.removeprefix(DEAD)] += count
    for dead in reasons.values():
        if dead.total() > limit:
            found = ", ".join(f"{count} {reason}" for reason, count in sorted(dead.items()))
            shown = f", such as {example}" if example else ""
            return f"{dead.total()} dead letters ({found}){shown}; --max-dead-letters is {limit}"
    return ""


class _Count(beam.DoFn):
    """Keeps Beam's counters; stops a bundle that alone has more dead letters than are allowed.

    A bundle that is repeated begins to count anew, so no item is ever counted twice against the
    limit. The exact count is checked at the end.
    """

    def __init__(self, max_dead_letters: int | None) -> None:
        super().__init__()
        self._limit = max_dead_letters
        self._dead: Counter[str] = Counter()
        self._counters: dict[str, Any] = {}

    def start_bundle(self) -> None:
        """Forgets another bundle's dead letters."""
        self._dead.clear()

    def process(self, outcome: Outcome) -> Iterator[tuple[int, Outcome]]:
        """Counts one outcome and hands it on under the key of all outcomes."""
        name, count, letter = outcome
        if outcome == _NOTHING:
            yield 0, outcome
            return
        if name not in self._counters:
            self._counters[name] = Metrics.counter(METRICS, name)
        self._counters[name].inc(count)
        if letter and self._limit is not None:
            self._dead[name] += count
            if message := too_many_dead_letters(self._dead, self._limit, example=letter):
                raise LimbeckError(f"stopped at {message}")
        yield 0, outcome


class _Tally(beam.CombineFn):
    """Adds outcomes up."""

    def create_accumulator(self) -> _Accumulator:
        return {}, []

    def add_input(self, accumulator: _Accumulator, element: Outcome) -> _Accumulator:
        counts, letters = accumulator
        name, count, letter = element
        if name:
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

    def __init__(self, scratch: str, *, max_dead_letters: int | None = None) -> None:
        """Takes `Work.scratch` and, to stop early, `Work.max_dead_letters`."""
        super().__init__()
        self._path = join(scratch, _REPORT)
        self._max_dead_letters = max_dead_letters

    # Without annotations of Beam's types: it would take a tuple of collections for a mistake.
    def expand(self, pcolls: Any) -> Any:
        """Adds the steps to a tuple of collections."""
        # Something to add up where nothing went in. A key of our own, and no CombineGlobally: that
        # asks for its default by a side input, which some runners compute all over again.
        nothing = pcolls[0].pipeline | "Nothing" >> beam.Create([_NOTHING], reshuffle=False)
        return (
            (*pcolls, nothing)
            | beam.Flatten()
            | "Count" >> beam.ParDo(_Count(self._max_dead_letters))
            | beam.CombinePerKey(_Tally())
            | beam.Map(_write, path=self._path)
        )


def _write(total: tuple[int, str], *, path: str) -> None:
    _, report = total
    if not is_remote(path) and not os.path.isdir(os.path.dirname(path)):
        raise LimbeckError(
            f"{os.path.dirname(path)}: not there for this worker; workers on other machines need "
            "--out on a file system that all of them share"
        )
    write_bytes(path, report.encode())


def read_report(scratch: str) -> Report:
    """Reads what `WriteReport` wrote."""
    value = json.loads(read_bytes(join(scratch, _REPORT)))
    return Report(counts=value["counts"], dead_letters=value["dead_letters"])
