"""Labels as they lie on the disk against the same batches, computed once more.

What must be found here is what nothing before could see: answers that change from one call to the
next, a worker with other software, memory that flips bits. On one machine type, in float32, the
bits are equal; elsewhere they may differ a little, and are compared by size.
"""

# M positions of a family in a batch

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.job import Family, Job
from extract.window_labels import flat_labels
from extract.windows import Window
from limbeck.config.errors import LimbeckError
from limbeck.labels import codecs
from limbeck.records.keys import split_key
from limbeck.records.resume import read_summary
from limbeck.records.rows import FixedRows
from limbeck.records.shard_reader import ShardReader

__all__ = ["Difference", "compare", "recheck"]

FAR = 0.05  # of a position's largest value; rounding of any codec is below
MANY_IDS = 0.5  # of a position's ids; a few at the end of a head may change places


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Labels computed twice."""

    positions: int
    """How many were compared."""
    unequal: int
    """How many differ in some bit."""
    far: tuple[int, ...]
    """Those that no rounding explains."""


def recheck(job: Job, families: Mapping[str, Family], *, batches: int) -> list[str]:
    """Computes some batches of finished shards again and compares what is stored.

    Args:
      job: whose shards are all written.
      families: that are compared.
      batches: how many, spread over the windows.

    Returns:
      A line for the report; none where nothing was compared.

    Raises:
      LimbeckError: what is stored is something else; names family and record.
    """
    positions = unequal = count = 0
    wanted = {name: family.encoding.fitted for name, family in job.active.items()}
    for window in _some_batches(job, batches):
        answers = [job.teacher.signals(batch.inputs, wanted) for batch in window.batches]
        count += 1
        for family in families.values():
            found = _compare_window(job, family, window, answers)
            positions, unequal = positions + found.positions, unequal + found.unequal
    if not positions:
        return []
    said = "equal bit for bit" if not unequal else f"{unequal:,} differ by rounding"
    return [f"checked: {count} batches computed again, {positions:,} labels, {said}"]


def compare(stored: Mapping[str, np.ndarray], again: Mapping[str, np.ndarray]) -> Difference:
    """Compares encoded arrays (M, ...) of the same positions.

    Args:
      stored: from the records.
      again: from the teacher; later dimensions may be shorter, where padding follows.
    """
    count = len(next(iter(stored.values())))
    unequal, far = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for name, values in stored.items():
        other = _like(again[name], values)
        here = (values != other) & ~(_is_nan(values) & _is_nan(other))
        unequal |= _any(here)
        if not here.any():
            continue
        if name == "ids":
            far |= here.reshape(count, -1).mean(axis=1) > MANY_IDS
        elif values.dtype.kind == "f" or values.dtype == np.int8:
            far |= _far(values, other)
    return Difference(positions=count, unequal=int(unequal.sum()), far=tuple(np.flatnonzero(far)))


def _some_batches(job: Job, batches: int) -> Iterator[Window]:
    """Windows of one batch each, evenly spaced over the examples."""
    places = [
        (shard, number)
        for shard, number in job.windows.all()
        if job.examples.content.shards[shard].records
    ]
    spaced = np.linspace(0, len(places) - 1, min(batches, len(places)))
    for turn, place in enumerate(np.unique(spaced.round().astype(int)).tolist()):
        window = job.windows.read(*places[place], only=turn)
        if window.batches:
            yield window


def _compare_window(job: Job, family: Family, window: Window, answers: Any) -> Difference:
    signal = family.signal
    labels = flat_labels(
        family.name,
        signal,
        window,
        answers,
        asked=job.windows.question.fractions[signal.positions],
        seed=job.settings.seed,
    )
    own = np.flatnonzero(family.encoding.labelled(window.rows))
    if not len(own) or not labels.counts.sum():
        return Difference(positions=0, unequal=0, far=())
    stored, where = _stored(family, window.shard, window.shard_rows[own])
    if not np.array_equal(stored["key"], window.rows["key"][own]):
        raise LimbeckError(f"{where}: rows are not those of the examples; delete the shard")
    arrays, _ = codecs.from_records(family.encoding.fitted, stored)
    found = compare(arrays, labels.arrays)
    if found.far:
        key = window.rows["key"][labels.row_of(found.far[0])]
        raise LimbeckError(
            f"{where}: record {key.tobytes().hex()} ({split_key(key)}): what is stored is not what "
            f"the teacher says when it is asked again ({len(found.far)} of {found.positions} "
            "positions); delete the shard's three files and run the command again, and if it "
            "happens again do not trust this machine or its software"
        )
    return found


def _stored(family: Family, shard: int, shard_rows: np.ndarray) -> tuple[dict[str, Any], str]:
    """Fields of records by their row of the parent's shard, before there is a manifest."""
    writer = family.writer
    summary = read_summary(writer.directory, writer.job, shard)
    if summary is None:
        raise LimbeckError(f"{writer.directory}: shard {shard} is gone; run the command again")
    layout = writer.layout
    codec = FixedRows(layout) if layout.stride_is_fixed else None
    reader = ShardReader(writer.directory, summary, layout, codec=codec, first_row=0)
    try:
        selection = reader.index.selection
        rows = shard_rows if selection is None else selection.find(shard_rows)
        records = [reader.read_record(int(row)) for row in rows]
    finally:
        reader.close()
    return {
        field.name: _stacked([record[field.name] for record in records]) for field in layout.fields
    }, os.path.join(writer.directory, summary.name)


def _stacked(values: list[Any]) -> np.ndarray:
    if isinstance(values[0], bytes):
        column = np.empty(len(values), object)
        column[:] = values
        return column
    return np.stack([np.asarray(value) for value in values])


def _like(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """In the dtype and shape of the other, zeros behind."""
    if values.shape == other.shape:
        return values.astype(other.dtype)
    padded = np.zeros(other.shape, other.dtype)
    padded[tuple(slice(size) for size in values.shape)] = values
    return padded


def _far(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(M,) bool: further apart than a twentieth of the position's largest value."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (values, other))
    finite = np.isfinite(a) & np.isfinite(b)
    apart = np.abs(np.where(finite, a, 0.0) - np.where(finite, b, 0.0)).max(axis=1)
    largest = np.abs(np.where(finite, a, 0.0)).max(axis=1)
    unlike = ((a != b) & ~finite & ~(np.isnan(a) & np.isnan(b))).any(axis=1)
    least = 2.0 if values.dtype == np.int8 else 1e-3
    return np.asarray((apart > np.maximum(FAR * largest, least)) | unlike)


def _is_nan(values: np.ndarray) -> np.ndarray:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)


def _any(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.reshape(len(values), -1).any(axis=1))
