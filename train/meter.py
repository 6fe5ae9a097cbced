"""What a run says about itself: times of its steps, lines of progress, metrics."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from limbeck.ranks import World
from limbeck.runs import MetricsLog, Progress, progress_line
from train.evaluate import Evaluation, Scores

__all__ = ["Meter", "StepValues"]


@dataclass(frozen=True, kw_only=True)
class StepValues:
    """Global values of one step."""

    step: int
    """Updates done, this one included."""

    loss: float
    """The objective."""

    terms: dict[str, float]
    """Name of a term -> its mean before its weight."""

    counts: dict[str, int]
    """Name of a term -> its N_j."""

    gradient_norm: float
    """Before clipping; nan or inf where the step was skipped for that."""

    learning_rate: float
    """Of this step."""

    skipped: int = 0
    """Updates left out so far, in the whole run."""

    rows: int
    """Rows fed so far."""

    tokens: int
    """Real tokens fed so far."""

    epoch: float
    """Rows fed so far over rows of the dataset."""


class Meter:
    """Times the steps between two lines; the leader's prints and writes them.

    The first step of a process compiles and is left out of the rates.

    Args:
      world: this rank's place.
      num_steps: of the whole run.
      log: the leader's metrics; None elsewhere.
      say: takes lines of progress.
    """

    def __init__(
        self, world: World, *, num_steps: int, log: MetricsLog | None, say: Callable[[str], None]
    ) -> None:
        self._world = world
        self._num_steps = num_steps
        self._log = log
        self._say = say
        self._first = True
        self._comm_s = 0.0
        self._started = time.perf_counter()
        self._waited_s = 0.0
        self._steps = self._tokens = self._rows = 0

    @contextmanager
    def communicating(self) -> Iterator[None]:
        """Counts the time inside as spent in collectives."""
        started = time.perf_counter()
        yield
        self._comm_s += time.perf_counter() - started

    def count(self, *, rows: int, tokens: int, waited_s: float) -> None:
        """Notes a step that has ended; `waited_s` is the stream's total."""
        if self._first:
            self._first = False
            self._restart(waited_s)
            return
        self._steps += 1
        self._rows += rows
        self._tokens += tokens

    def say(self, line: str) -> None:
        """Prints a line, on the leader."""
        if self._world.is_leader:
            self._say(line)

    def report(self, values: StepValues, *, waited_s: float) -> None:
        """Writes and prints the line of a step, and starts the next interval."""
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        steps = self._steps
        speed = {}
        if steps:
            speed = {
                "speed/step_s": elapsed / steps,
                "speed/rows_per_s": self._rows / elapsed,
                "speed/tokens_per_s": self._tokens / elapsed,
                "speed/tokens_per_s_per_rank": self._tokens / elapsed / self._world.size,
                "speed/data_share": (waited_s - self._waited_s) / elapsed,
            }
            if self._world.size > 1:
                speed["speed/comm_share"] = self._comm_s / elapsed
        if self._log is not None:
            self._log.write(step=values.step, **_metrics(values), **speed)
            self._say(self._line(values, speed))
        self._restart(waited_s)

    def evaluate(self, evaluator: Evaluation, *, step: int) -> Scores:
        """Evaluates on all ranks; the time is not that of the steps."""
        started = time.perf_counter()
        scores = evaluator.scores()
        seconds = time.perf_counter() - started
        self._started += seconds
        if self._log is not None:
            self._log.write(step=step, **scores.metrics(), **{"eval/seconds": seconds})
            width = len(str(self._num_steps))
            self._say(f"eval {step:>{width}}/{self._num_steps} {scores.text()}")
        return scores

    def sync(self) -> None:
        """Puts the metrics on disk; before a checkpoint, which stands for them."""
        if self._log is not None:
            self._log.sync()

    def _line(self, values: StepValues, speed: dict[str, float]) -> str:
        left = self._num_steps - values.step
        return progress_line(
            Progress(
                step=values.step,
                steps=self._num_steps,
                loss=values.loss,
                terms=values.terms,
                gradient_norm=values.gradient_norm,
                learning_rate=values.learning_rate,
                skipped=values.skipped,
                tokens_per_s=speed.get("speed/tokens_per_s", 0.0),
                world_size=self._world.size,
                data_share=speed.get("speed/data_share", 0.0),
                comm_share=speed.get("speed/comm_share"),
                eta_s=left * speed["speed/step_s"] if speed else float("nan"),
            )
        )

    def _restart(self, waited_s: float) -> None:
        self._started = time.perf_counter()
        self._waited_s = waited_s
        self._comm_s = 0.0
        self._steps = self._tokens = self._rows = 0


def _metrics(values: StepValues) -> dict[str, float]:
    return {
        "train/loss": values.loss,
        **{f"train/loss_{name}": value for name, value in values.terms.items()},
        **{f"train/count_{name}": count for name, count in values.counts.items()},
        "train/gradient_norm": values.gradient_norm,
        "train/learning_rate": values.learning_rate,
        "train/skipped": values.skipped,
        "train/epoch": values.epoch,
        "train/rows": values.rows,
        "train/tokens": values.tokens,
    }
