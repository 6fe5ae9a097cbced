"""A rank's batches, read ahead by a thread pool, in the order that the run's position gives.

What a batch holds is a pure function of its position, so batches are read in parallel and handed
over in order; a few are under way at any time. An error surfaces at the batch that it belongs to,
so the first one in the order of the data wins, and nothing after it is handed over.
"""

# B rows of the global batch, W ranks, n rows of this rank's slice

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.order import GlobalBatch, Order, StreamState, padded_size, rank_slice
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.records.examples import check_examples
from train.batch import Group, MicroBatch, bucket_length, count_items, cut
from train.families import Family, check_rows

__all__ = ["RankBatch", "Source", "Stream", "row_lengths"]


@dataclass(frozen=True, kw_only=True)
class RankBatch:
    """One rank's part of one global batch, ready to compute on."""

    micro: Sequence[MicroBatch]
    """Micro-batches; all of the same static number of rows."""

    rows: np.ndarray
    """(n,) int64 real rows of the slice; may be empty."""

    keys: np.ndarray
    """(n, 16) uint8 keys of these rows, as they were read."""

    items: Mapping[Group, int]
    """Group -> real entries in the slice, from the labels alone."""

    num_tokens: int
    """Real tokens in the slice."""

    length: int
    """T, equal on all ranks."""

    position: int
    """Running position of the global batch's first row."""

    next_position: int
    """Where the next global batch starts."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where batches come from and how they are cut; equal on all ranks but for `world`."""

    examples: Dataset
    """Inputs."""

    families: Mapping[str, Family]
    """Label families, row for row beside the examples."""

    order: Order
    """Position -> row."""

    global_batch: int
    """B."""

    world: World
    """Which slice is ours."""

    micro_batch: int | None
    """m; None for the whole slice at once."""

    groups: Sequence[Group]
    """Which lists of entries the objective needs."""

    vocab_size: int
    """The student's; an id beyond it is refused."""

    @property
    def rows_per_micro(self) -> int:
        """m: static rows of a micro-batch."""
        slice_rows = padded_size(self.global_batch, self.world.size)
        return slice_rows if self.micro_batch is None else min(self.micro_batch, slice_rows)

    @property
    def num_micro(self) -> int:
        """Micro-batches a step, equal on all ranks."""
        return padded_size(padded_size(self.global_batch, self.world.size), self.rows_per_micro)

    @property
    def dataset_ids(self) -> tuple[str, ...]:
        """Ids of the examples and of every family."""
        return (self.examples.id, *(f.dataset.id for f in self.families.values()))

    def state(self, position: int) -> StreamState:
        """What a checkpoint keeps to go on from `position`."""
        return StreamState(
            dataset_ids=self.dataset_ids,
            seed=self.order.seed,
            boundary=self.order.boundary,
            epoch=self.order.epoch_of(position),
            position=position,
            global_batch=self.global_batch,
        )

    def global_rows(self, position: int) -> GlobalBatch:
        """The rows of the global batch at `position`, over all ranks."""
        return self.order.batch_rows(position, self.global_batch)

    def read(self, whole: GlobalBatch) -> RankBatch:
        """Reads, checks and cuts this rank's part of a global batch.

        Raises:
          LimbeckError: a damaged record, or labels of another input.
        """
        rows = whole.rows[rank_slice(len(whole.rows), self.world.rank, self.world.size)]
        # A rank without rows (more ranks than rows) computes on a stand-in of weight 0.
        read_rows = rows if len(rows) else whole.rows[:1]
        examples = self.examples.read(read_rows)
        labels = {name: f.dataset.read(read_rows) for name, f in self.families.items()}
        check_examples(examples, vocab_size=self.vocab_size)
        check_rows(examples, labels, self.families, read_rows)
        longest = int(row_lengths(self.examples, whole.rows).max())
        length = bucket_length(longest, seq_length=examples["ids"].shape[1])
        micro = cut(
            examples,
            {name: self.families[name].arrays(fields) for name, fields in labels.items()},
            num_real=len(rows),
            micro_batch=self.rows_per_micro,
            num_micro=self.num_micro,
            length=length,
            groups=self.groups,
        )
        return RankBatch(
            micro=micro,
            rows=rows,
            items={group: count_items(micro, group) for group in self.groups},
            keys=examples["key"][: len(rows)],
            num_tokens=int(examples["num_tokens"][: len(rows)].sum()),
            length=length,
            position=int(whole.positions[0]),
            next_position=whole.next_position,
        )


class Stream:
    """Iterates over the batches from a position on; use as a context manager.

    Args:
      source: what to read.
      position: of the first batch.
      num_batches: how many to hand over.
      prepare: what a reading thread does with each batch, such as making tensors.
      threads: reading threads.
      depth: batches under way or waiting at any time.
    """

    def __init__(
        self,
        source: Source,
        *,
        position: int,
        num_batches: int,
        prepare: Callable[[RankBatch], Any] = lambda batch: batch,
        threads: int = 2,
        depth: int = 3,
    ) -> None:
        self._source = source
        self._prepare = prepare
        self._next_position = position
        self._left = num_batches
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stream")
        self._ahead: deque[Future[Any]] = deque()
        self._depth = depth
        self.wait_s = 0.0
        """Seconds that the consumer has waited for data so far."""

    def __iter__(self) -> Iterator[Any]:
        """Yields prepared batches; after an error the stream is closed."""
        try:
            while True:
                self._fill()
                if not self._ahead:
                    return
                started = time.perf_counter()
                batch = self._ahead.popleft().result()
                self.wait_s += time.perf_counter() - started
                self._fill()
                yield batch
        finally:
            self.close()

    def close(self) -> None:
        """Drops what was read ahead and waits for the threads; harmless twice."""
        self._left = 0
        self._ahead.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Stream":
        """Returns the stream itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes the stream."""
        self.close()

    def _fill(self) -> None:
        while self._left and len(self._ahead) < self._depth:
            whole = self._source.global_rows(self._next_position)
            self._ahead.append(self._pool.submit(self._work, whole))
            self._next_position = whole.next_position
            self._left -= 1

    def _work(self, whole: GlobalBatch) -> Any:
        return self._prepare(self._source.read(whole))


def row_lengths(examples: Dataset, rows: np.ndarray) -> np.ndarray:
    """Tokens of rows (n,), uint32, from the mapped index: the column is never loaded as a whole.

    Raises:
      UsageError: the examples were written without token counts.
    """
    numbers = np.searchsorted(examples.shard_starts, rows, side="right") - 1
    lengths = np.zeros(len(rows), np.uint32)
    for number in np.unique(numbers):
        column = examples.shards[number].index.lengths
        if column is None:
            raise UsageError(f"{examples.directory}: was written without token counts")
        mine = numbers == number
        lengths[mine] = column[rows[mine] - examples.shard_starts[number]]
    return lengths
