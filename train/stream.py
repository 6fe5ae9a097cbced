"""A rank's batches, read ahead by a thread pool, in the order that the run's position gives.

What a batch holds is a pure function of its position, so batches are read in parallel and handed
over in order; a few are under way at any time. An error surfaces at the batch that it belongs to,
so the first one in the order of the data wins, and nothing after it is handed over.
"""

# B rows of the global batch, W ranks, n rows of this rank's slice

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.order import GlobalBatch, Mixture, Order, StreamState, padded_size, rank_slice
from limbeck.ranks import World
from limbeck.records.examples import check_examples
from train.reading.batch import FamilyArrays, MicroBatch, bucket_length, count_items, cut
from train.reading.masking import Masker
from train.reading.mixture import Corpora, OnBadRecord, Slice
from train.reading.quarantine import BadRow

__all__ = ["LiveAnswers", "RankBatch", "Source", "Stream"]


@dataclass(frozen=True, kw_only=True)
class RankBatch:
    """One rank's part of one global batch, ready to compute on."""

    micro: Sequence[MicroBatch]
    """Micro-batches; all of the same static number of rows."""

    rows: np.ndarray
    """(n,) int64 real rows of the slice; may be empty."""

    keys: np.ndarray
    """(n, 16) uint8 keys of these rows, as they were read."""

    items: Mapping[str, int]
    """What terms divide by, from the labels alone; see `train.reading.batch.count_items`."""

    num_tokens: int
    """Real tokens in the slice."""

    length: int
    """T, equal on all ranks."""

    position: int
    """Running position of the global batch's first row."""

    next_position: int
    """Where the next global batch starts."""

    bad: tuple[BadRow, ...] = ()
    """Rows of the slice that count for nothing because they are damaged."""


class LiveAnswers(Protocol):
    """A teacher that answers for the rows of a slice, in place of stored labels."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What a state names beside the datasets: another teacher's answers are other data."""

    def arrays(self, examples: Mapping[str, np.ndarray]) -> Mapping[str, FamilyArrays]:
        """What each signal holds for n rows of examples, as they are fed to the student."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where batches come from and how they are cut; equal on all ranks but for `world`."""

    corpora: Corpora
    """Inputs with their label families."""

    order: Order | Mixture
    """Position -> row."""

    global_batch: int
    """B."""

    world: World
    """Which slice is ours."""

    micro_batch: int | None
    """m; None for the whole slice at once."""

    groups: Sequence[str]
    """Names of the lists of entries that the objective needs."""

    vocab_size: int
    """The student's; an id beyond it is refused."""

    masker: Masker | None = None
    """Masks rows that are stored without."""

    on_bad: OnBadRecord = "stop"
    """What becomes of a damaged record."""

    live: LiveAnswers | None = None
    """Answers in place of stored labels."""

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
        """Ids of the examples and of every family, or of what answers in their place."""
        live = () if self.live is None else self.live.ids
        return (*self.corpora.dataset_ids, *live)

    def state(self, position: int) -> StreamState:
        """What a checkpoint keeps to go on from `position`."""
        return StreamState(
            dataset_ids=self.dataset_ids,
            seed=self.order.seed,
            boundary=self.order.boundary,
            epoch=self.order.epoch_of(position),
            position=position,
            global_batch=self.global_batch,
            mode=self.order.mode,
        )

    def check_state(self, state: StreamState) -> None:
        """Refuses a state of other data or of another order.

        Raises:
          UsageError: lists every difference.
        """
        state.check_fits(
            dataset_ids=self.dataset_ids,
            seed=self.order.seed,
            boundary=self.order.boundary,
            num_rows=self.order.num_rows,
            mode=self.order.mode,
        )

    def global_rows(self, position: int) -> GlobalBatch:
        """The rows of the global batch at `position`, over all ranks."""
        return self.order.batch_rows(position, self.global_batch)

    def read(self, whole: GlobalBatch) -> RankBatch:
        """Reads, checks and cuts this rank's part of a global batch.

        Raises:
          LimbeckError: a damaged record where that is not to be left out, or labels of another
            input.
        """
        part = rank_slice(len(whole.rows), self.world.rank, self.world.size)
        rows = whole.rows[part]
        found, epochs = self._read_rows(whole, part)
        check_examples(
            found.examples, vocab_size=self.vocab_size, num_labels=self.corpora.num_labels
        )
        examples = found.examples
        if self.masker is not None:
            unmasked = examples["ids"]
            examples = self.masker(examples, epochs)
            if found.families:  # whose labels belong to the unmasked input
                examples["unmasked_ids"] = unmasked
        families = found.families if self.live is None else self.live.arrays(examples)
        longest = int(self.corpora.lengths(whole.rows).max())
        length = bucket_length(longest, seq_length=self.corpora.seq_length)
        micro = cut(
            examples,
            families,
            num_real=len(rows),
            micro_batch=self.rows_per_micro,
            num_micro=self.num_micro,
            length=length,
            groups=self.groups,
            present=found.present[: len(rows)],
            first_place=part.start,
            corpora=self.corpora.names,
        )
        real = int(found.present[: len(rows)].sum())
        return RankBatch(
            micro=micro,
            rows=rows,
            items=count_items(micro, self.groups),
            keys=self._keys(rows, found, real),
            num_tokens=int(examples["num_tokens"][:real].sum()),
            length=length,
            position=int(whole.positions[0]),
            next_position=whole.next_position,
            bad=found.bad,
        )

    def _read_rows(self, whole: GlobalBatch, part: slice) -> tuple[Slice, np.ndarray]:
        """This rank's rows and the epoch of each; of a rank that has none, one that stands in.

        That is a rank of more ranks than rows, or one whose rows are all damaged: it computes on
        another row of the batch at weight 0.
        """
        rows = whole.rows[part]
        found = self.corpora.read(rows, on_bad=self.on_bad) if len(rows) else None
        if found is not None and found.present.any():
            return found, whole.epochs[part][found.present]
        for place, row in enumerate(whole.rows.tolist()):
            other = self.corpora.read(np.array([row]), on_bad=self.on_bad)
            if other.present.all():
                nothing = np.zeros(len(rows), bool)
                bad = () if found is None else found.bad
                stand_in = dataclasses.replace(other, present=nothing, bad=bad)
                return stand_in, whole.epochs[place : place + 1]
        raise LimbeckError(
            f"{self.corpora.directories}: every row of the batch at position "
            f"{whole.positions[0]} is damaged; verify the directory"
        )

    def _keys(self, rows: np.ndarray, found: Slice, real: int) -> np.ndarray:
        """Keys of the slice's rows as they were read; of damaged ones as the index has them."""
        if real == len(rows):
            return found.examples["key"][:real]
        keys = self.corpora.keys(rows)
        keys[found.present[: len(rows)]] = found.examples["key"][:real]
        return keys


class Stream:
    """Iterates over the batches from a position on; use as a context manager.

    Args:
      source: what to read.
      position: of the first batch.
      num_batches: how many to hand over.
      prepare: what a reading thread does with each batch, such as making tensors.
      threads: reading threads.
      depth: batches under way or waiting at any time; 0 reads each when it is asked for.
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
        if threads < 1 or depth < 0:
            raise ValueError(f"threads is {threads} and depth {depth}; expected >= 1 and >= 0")
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
                if self._depth:
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
        while self._left and len(self._ahead) < max(self._depth, 1):
            whole = self._source.global_rows(self._next_position)
            self._ahead.append(self._pool.submit(self._work, whole))
            self._next_position = whole.next_position
            self._left -= 1

    def _work(self, whole: GlobalBatch) -> Any:
        return self._prepare(self._source.read(whole))
