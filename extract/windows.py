"""The examples in windows: some rows of a shard, checked, and the batches they are computed in.

A window never holds rows of two shards, so what a shard's labels are depends on that shard alone.
"""

# n rows of a window, S token slots

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from limbeck.records.keys import chosen
from limbeck.teachers.batching import PlannedBatch, plan_batches
from limbeck.teachers.protocol import TeacherBatch
from limbeck.teachers.questions import Question, make_batch

__all__ = ["Batch", "Window", "Windows"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """A batch of a window."""

    plan: PlannedBatch
    """Which rows, in which shape."""
    inputs: TeacherBatch
    """What the teacher gets."""
    num_tokens: int
    """Real tokens of its real rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Some rows of a shard, in the order of the file."""

    shard: int
    """Number of the shard."""
    number: int
    """Number of the window in the shard, from 0."""
    is_last: bool
    """Whether the shard ends with it."""
    rows: dict[str, np.ndarray]
    """Fields of the examples, (n, ...)."""
    shard_rows: np.ndarray
    """(n,) int64 row of the shard that each is."""
    batches: tuple[Batch, ...]
    """Every row once."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How examples are cut into windows and batches."""

    examples: Dataset
    """What is labelled."""
    question: Question
    """What is asked at each batch."""
    fraction: float
    """Records that are computed at all, chosen by their keys."""
    vocab_size: int
    """Ids must be below."""
    max_length: int
    """Largest padded length."""
    batch_tokens: int
    """As in the recipe, as are the next two."""
    length_multiple: int
    """Padded lengths are multiples of it."""
    window_rows: int
    """Rows of the file a window looks at."""
    fill: bool
    """Whether row counts are static, too."""

    def count(self, shard: int) -> int:
        """Windows of a shard; one even where it is empty."""
        return max(1, -(-self.examples.content.shards[shard].records // self.window_rows))

    def all(self) -> Iterator[tuple[int, int]]:
        """Yields (shard, number) of every window, in order."""
        for shard in range(len(self.examples.content.shards)):
            for number in range(self.count(shard)):
                yield shard, number

    def of_shard(self, shard: int) -> Iterator[Window]:
        """All windows of a shard, in order.

        Raises:
          LimbeckError: as `read`.
        """
        for number in range(self.count(shard)):
            yield self.read(shard, number)

    def read(self, shard: int, number: int, *, only: int | None = None) -> Window:
        """Reads and checks one window and plans its batches.

        Args:
          shard: number of the shard.
          number: number of the window.
          only: takes this batch alone of those that are planned (modulo their number), and its
            rows as those of the window.

        Raises:
          LimbeckError: a damaged record, or one that `check_examples` refuses for this vocabulary.
        """
        rows, shard_rows = self.rows(shard, number)
        plans = self.plan(rows["num_tokens"])
        if only is not None and plans:
            rows, shard_rows, plans = _alone(rows, shard_rows, plans[only % len(plans)])
        return Window(
            shard=shard,
            number=number,
            is_last=number == self.count(shard) - 1,
            rows=rows,
            shard_rows=shard_rows,
            batches=tuple(self.make(rows, plan) for plan in plans),
        )

    def plan(self, lengths: np.ndarray) -> list[PlannedBatch]:
        """Batches of rows of these lengths."""
        return plan_batches(
            lengths,
            batch_tokens=self.batch_tokens,
            length_multiple=self.length_multiple,
            max_length=self.max_length,
            fill=self.fill,
        )

    def make(self, rows: dict[str, np.ndarray], plan: PlannedBatch) -> Batch:
        """The batch of a plan."""
        return Batch(
            plan=plan,
            inputs=make_batch(
                {name: values[plan.rows] for name, values in rows.items()},
                self.question,
                length=plan.length,
                num_real=plan.num_real,
            ),
            num_tokens=int(rows["num_tokens"][plan.real_rows].sum(dtype=np.int64)),
        )

    def checked(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Fields of rows of the dataset.

        Raises:
          LimbeckError: as `read`.
        """
        fields = self.examples.read(rows)
        try:
            check_examples(fields, vocab_size=self.vocab_size)
        except LimbeckError as error:
            raise LimbeckError(f"{self.examples.directory}: {error}") from error
        return fields

    def rows(self, shard: int, number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Fields (n, ...) of a window's rows that are computed, and their rows of the shard."""
        start, stop = (int(n) for n in self.examples.shard_starts[shard : shard + 2])
        first = start + number * self.window_rows
        wanted = np.arange(first, min(first + self.window_rows, stop), dtype=np.int64)
        if self.fraction < 1.0:
            keys = self.examples.keys(wanted)
            wanted = wanted[chosen(keys, self.fraction, self.question.seed)]
        return self.checked(wanted), wanted - start


def _alone(
    rows: dict[str, np.ndarray], shard_rows: np.ndarray, plan: PlannedBatch
) -> tuple[dict[str, np.ndarray], np.ndarray, list[PlannedBatch]]:
    """The rows of one batch, in the order of the file, and its plan in their numbers."""
    kept = np.sort(plan.real_rows)
    renumbered = dataclasses.replace(plan, rows=np.searchsorted(kept, plan.rows))
    return {name: values[kept] for name, values in rows.items()}, shard_rows[kept], [renumbered]
