"""The threads of a run and what goes between them.

    reader       shards -> windows of examples, checked and cut into batches
    main thread  windows -> the teacher's answers
    finisher     answers -> records in the order of the file, checked
    a writer a family, a shard at a time

A shard is given up as a whole: no family writes it before all windows of it were sound.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from extract.job import Family, Job
from extract.pipe import Pipe
from extract.progress import Progress
from extract.window_labels import flat_labels, label_records, refuse_faults
from extract.windows import Window
from extract.workers import Shards
from limbeck.records.keys import chosen
from limbeck.records.shard import ShardSummary
from limbeck.records.sorted_rows import RowBatch
from limbeck.teachers.protocol import Answers

__all__ = ["run_stages"]

WINDOWS_AHEAD = 2
WINDOWS_BEHIND = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """A window and the teacher's answers to its batches."""

    window: Window
    """What was asked."""
    answers: list[Answers]
    """One a batch."""


def run_stages(job: Job, claims: Shards, progress: Progress) -> None:
    """Labels every pending shard that this worker gets.

    Raises:
      LimbeckError: of whichever stage fails first; the others are stopped.
    """
    ahead: Pipe[Window] = Pipe(WINDOWS_AHEAD)
    behind: Pipe[Answered] = Pipe(WINDOWS_BEHIND)
    shards = _Shards(job, claims)
    finisher = _Finisher(job, shards, progress)
    with (
        ThreadPoolExecutor(1, "read-ahead") as reading,
        ThreadPoolExecutor(1, "finish-behind") as finishing,
    ):
        read = reading.submit(_read, job, shards, ahead)
        finished = finishing.submit(_finish, finisher, behind)
        try:
            _answer(job, ahead, behind, progress)
        except BaseException as error:
            behind.end(error)
            raise
        finally:
            behind.end()
            ahead.leave()
            shards.stop()
            _settle(read, finished)


class _Shards:
    """Shards to do, as they are claimed; shared by the thread that takes and the one that gives."""

    def __init__(self, job: Job, claims: Shards) -> None:
        self._pending = job.pending
        self._claims = claims
        self._num_held = 0
        self._is_stopped = False
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[int]:
        while (shard := self._take()) is not None:
            yield shard

    def _take(self) -> int | None:
        while not self._is_stopped:
            held = self._num_held
            shard = self._claims.take(self._pending)
            with self._changed:
                if shard is not None:
                    self._num_held += 1
                    return shard
                if not held:
                    return None
                # Others are at what is left: wait until ours is written, then look again.
                self._changed.wait_for(lambda: not self._num_held or self._is_stopped)
        return None

    def release(self, shard: int) -> None:
        """Gives a shard back, written."""
        self._claims.release(shard)
        with self._changed:
            self._num_held -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Takes no more, and waits for no other worker."""
        self._claims.leave()
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()


def _read(job: Job, shards: _Shards, ahead: Pipe[Window]) -> None:
    try:
        for shard in shards:
            for window in job.windows.of_shard(shard):
                if not ahead.put(window):
                    return
    except BaseException as error:
        ahead.end(error)
        return
    ahead.end()


def _answer(job: Job, ahead: Pipe[Window], behind: Pipe[Answered], progress: Progress) -> None:
    wanted = {name: family.encoding.fitted for name, family in job.active.items()}
    for window in ahead:
        answers = []
        for batch in window.batches:
            answers.append(job.teacher.signals(batch.inputs, wanted))
            progress.batch(tokens=batch.num_tokens, slots=batch.plan.num_slots)
        if not behind.put(Answered(window=window, answers=answers)):
            return


class _Finisher:
    """Turns answered windows into shards."""

    def __init__(self, job: Job, shards: _Shards, progress: Progress) -> None:
        self._job = job
        self._shards = shards
        self._progress = progress
        self._families = job.active
        self._pool = ThreadPoolExecutor(max(1, len(self._families)), "write-behind")
        self._pipes: dict[str, Pipe[RowBatch]] = {}
        self._written: dict[str, Future[ShardSummary]] = {}

    def window(self, answered: Answered) -> None:
        """Checks a window in all families, then hands it to their writers."""
        window = answered.window
        batches = {name: self._records(f, answered) for name, f in self._families.items()}
        if window.number == 0:
            self._begin(window.shard)
        for name, pipe in self._pipes.items():
            pipe.put(batches[name])
        if window.is_last:
            self._end(window.shard)

    def close(self, error: BaseException | None) -> None:
        """Ends the writers; with an error, without a shard."""
        for pipe in self._pipes.values():
            pipe.end(error)
        self._pool.shutdown(wait=True)

    def _records(self, family: Family, answered: Answered) -> RowBatch:
        signal = family.signal
        labels = flat_labels(
            family.name,
            signal,
            answered.window,
            answered.answers,
            asked=self._job.windows.question.fractions[signal.positions],
            seed=self._job.settings.seed,
        )
        refuse_faults(family.encoding, labels, answered.window)
        return label_records(family.encoding, labels, answered.window)

    def _begin(self, shard: int) -> None:
        lacking = {
            name: family for name, family in self._families.items() if shard not in family.done
        }
        self._pipes = {name: Pipe[RowBatch](1) for name in lacking}
        self._written = {
            name: self._pool.submit(self._write, family, shard, self._pipes[name])
            for name, family in lacking.items()
        }

    def _end(self, shard: int) -> None:
        for pipe in self._pipes.values():
            pipe.end()
        summaries = [written.result() for written in self._written.values()]
        self._pipes, self._written = {}, {}
        self._shards.release(shard)
        self._progress.shard(num_bytes=sum(s.bytes + s.index_bytes for s in summaries))

    def _write(self, family: Family, shard: int, pipe: Pipe[RowBatch]) -> ShardSummary:
        parent: dict[str, object] = {}
        if family.signal.records < 1.0:
            start, stop = (int(n) for n in self._job.examples.shard_starts[shard : shard + 2])
            keys = self._job.examples.keys(range(start, stop))
            own = chosen(keys, family.signal.records, self._job.settings.seed)
            parent = {"parent_rows": own.nonzero()[0], "parent_records": stop - start}
        try:
            return family.writer.write_batches(shard, iter(pipe), **parent)  # type: ignore[arg-type]
        finally:
            pipe.leave()


def _finish(finisher: _Finisher, behind: Pipe[Answered]) -> None:
    error: BaseException | None = None
    try:
        for answered in behind:
            finisher.window(answered)
    except BaseException as caught:
        error = caught
        raise
    finally:
        behind.leave()
        finisher.close(error or _Stopped("stopped"))


class _Stopped(Exception):
    """What a writer gets whose shard was given up."""


def _settle(*futures: Future[None]) -> None:
    """Waits for all and raises what went wrong in the first that failed."""
    for error in [future.exception() for future in futures]:
        if error is not None:
            raise error
