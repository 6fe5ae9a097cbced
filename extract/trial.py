"""What a teacher can do, found out before anything is written: memory, speed, sizes of records."""

# R rows of a batch, L padded length

import time
from dataclasses import dataclass, replace

import numpy as np

from extract.job import Family, Job
from extract.window_labels import flat_labels, label_records
from extract.windows import Batch, Window, Windows
from limbeck.config.errors import UsageError
from limbeck.labels.fitted import Fitted
from limbeck.records.rows import FixedRows, encode_record
from limbeck.records.tfrecord import FOOTER_BYTES, HEADER_BYTES
from limbeck.teachers.protocol import Answers, TeacherOutOfMemory

__all__ = [
    "Sample",
    "bare_slots_per_s",
    "largest_batch",
    "record_bytes",
    "take_sample",
    "try_memory",
]

SAMPLE_BATCHES = 4
SAMPLE_RECORDS = 64  # whose size is measured, of families without a fixed one


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Some batches of the examples that were computed and timed."""

    window: Window
    """Their rows."""
    answers: tuple[Answers, ...]
    """Of the teacher, one a batch."""
    seconds: float
    """They took, once every shape had been seen."""

    @property
    def tokens_per_s(self) -> float:
        """Real tokens."""
        return sum(batch.num_tokens for batch in self.window.batches) / max(self.seconds, 1e-9)


def largest_batch(windows: Windows) -> Batch | None:
    """A batch of the longest rows, with all positions asked for; None without any rows."""
    lengths = windows.examples.lengths()
    if not len(lengths):
        return None
    longest = int(lengths.max())
    single = windows.plan(np.array([longest]))[0].length
    count = min(len(lengths), max(1, windows.batch_tokens // single))
    rows = np.sort(np.argpartition(-lengths.astype(np.int64), count - 1)[:count])
    everything = replace(windows.question, fractions=dict.fromkeys(windows.question.fractions, 1.0))
    fields = windows.checked(rows)
    return replace(windows, question=everything).make(fields, windows.plan(fields["num_tokens"])[0])


def try_memory(job: Job) -> None:
    """Computes the largest batch once.

    Raises:
      UsageError: it does not fit the device; says which token budget does.
    """
    batch = largest_batch(job.windows)
    if batch is None:
        return
    try:
        job.teacher.signals(batch.inputs, _wanted(job))
    except TeacherOutOfMemory as error:
        rows, length = batch.inputs.ids.shape
        fits = _budget_that_fits(job, length)
        way_out = f"--token-budget {fits} fits" if fits else "not even one row fits"
        raise UsageError(
            f"batch_tokens is {job.windows.batch_tokens}, but a batch of {rows} rows of {length} "
            f"tokens does not fit the memory of {job.teacher.device}; {way_out} (nothing was "
            "written; how rows are batched is part of the labels' settings)"
        ) from error


def bare_slots_per_s(job: Job) -> float:
    """Token slots a second of the forward pass alone, measured on the largest batch."""
    batch = largest_batch(job.windows)
    if batch is None:
        return 0.0
    signals = {name: family.signal for name, family in job.active.items()}
    job.teacher.bare(batch.inputs, signals)  # compiles
    started_s = time.perf_counter()
    job.teacher.bare(batch.inputs, signals)
    return batch.inputs.ids.size / max(time.perf_counter() - started_s, 1e-9)


def take_sample(job: Job, *, timed: bool) -> Sample | None:
    """Computes a few batches of the first window that has rows.

    Args:
      job: prepared.
      timed: whether to compute them a second time, for the time it takes.
    """
    window = _sample_window(job.windows)
    if window is None:
        return None
    wanted = _wanted(job)
    seconds = 0.0
    for _ in range(2 if timed else 1):
        started_s = time.perf_counter()
        answers = tuple(job.teacher.signals(batch.inputs, wanted) for batch in window.batches)
        seconds = time.perf_counter() - started_s
    return Sample(window=window, answers=answers, seconds=seconds)


def record_bytes(job: Job, family: Family, sample: Sample | None) -> float:
    """Bytes of a record on the disk: exact where all are alike, else the mean of a sample."""
    layout = family.encoding.layout
    if family.manifest is not None:
        totals = family.manifest.content.totals
        return float(totals["bytes"]) / max(1, totals["records"])
    if layout.stride_is_fixed:
        return FixedRows(layout).stride
    if sample is None:
        return 0.0
    labels = flat_labels(
        family.name,
        family.signal,
        sample.window,
        sample.answers,
        asked=job.windows.question.fractions[family.signal.positions],
        seed=job.settings.seed,
    )
    rows = label_records(family.encoding, labels, sample.window).rows
    if not isinstance(rows, dict):
        return 0.0
    count = min(SAMPLE_RECORDS, len(rows["key"]))
    records = ({name: values[i] for name, values in rows.items()} for i in range(count))
    sizes = [len(encode_record(layout, record)) for record in records]
    return HEADER_BYTES + FOOTER_BYTES + sum(sizes) / max(1, count)


def _wanted(job: Job) -> dict[str, Fitted]:
    return {name: family.encoding.fitted for name, family in job.active.items()}


def _budget_that_fits(job: Job, length: int) -> int | None:
    budget = job.windows.batch_tokens // 2
    while budget >= length:
        batch = largest_batch(replace(job.windows, batch_tokens=budget))
        assert batch is not None
        try:
            job.teacher.signals(batch.inputs, _wanted(job))
        except TeacherOutOfMemory:
            budget //= 2
        else:
            return budget
    return None


def _sample_window(windows: Windows) -> Window | None:
    for shard, number in windows.all():
        rows, shard_rows = windows.rows(shard, number)
        num_rows = len(shard_rows)
        if not num_rows:
            continue
        mean = max(1.0, float(rows["num_tokens"].mean()))
        count = min(num_rows, max(1, int(SAMPLE_BATCHES * windows.batch_tokens / mean)))
        spaced = np.unique(np.linspace(0, num_rows - 1, count).astype(np.int64))
        rows = {name: values[spaced] for name, values in rows.items()}
        batches = tuple(windows.make(rows, plan) for plan in windows.plan(rows["num_tokens"]))
        return Window(
            shard=shard,
            number=number,
            is_last=False,
            rows=rows,
            shard_rows=shard_rows[spaced],
            batches=batches,
        )
    return None
