"""The teacher's answers to a window: put in the order of the file, checked, made into records."""

# n rows of a window, M positions of a family in them

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extract.faults import find_constant
from extract.windows import Window
from limbeck.config.errors import LimbeckError
from limbeck.labels import codecs
from limbeck.labels.fault import Fault
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import Group, LabelDims, Signal
from limbeck.records.keys import chosen, input_digest, split_key
from limbeck.records.layout import Layout
from limbeck.records.sorted_rows import RowBatch
from limbeck.teachers.protocol import Answers
from limbeck.teachers.questions import position_counts

__all__ = ["Encoding", "FlatLabels", "flat_labels", "label_records", "refuse_faults", "row_digests"]

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding:
    """What one family is made with."""

    name: str
    """Of the family."""
    fitted: Fitted
    """Its signal and what was settled for it."""
    layout: Layout
    """Of its records."""
    dims: LabelDims
    """Sizes of its arrays."""
    seed: int
    """Of the choice of records."""

    def labelled(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) bool: which records it labels."""
        return chosen(rows["key"], self.fitted.signal.records, self.seed)


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatLabels:
    """Encoded labels of one family in a window, in the order of the file."""

    arrays: Arrays
    """(M, ...), record by record."""
    counts: np.ndarray
    """(n,) positions of each row; 0 for rows that the family does not label."""

    def row_of(self, position: int) -> int:
        """The row of the window that a flat position is of."""
        return int(np.searchsorted(np.cumsum(self.counts), position, side="right"))


def flat_labels(
    name: str,
    signal: Signal,
    window: Window,
    answers: Sequence[Answers],
    *,
    asked: float,
    seed: int,
) -> FlatLabels:
    """Puts the answers to all batches of a window in the order of its rows.

    Args:
      name: of the family, as in the answers.
      signal: what it holds.
      window: what was asked.
      answers: of the teacher, one a batch.
      asked: fraction of the records whose positions were in the batches; the family's may be less.
      seed: of the choice of records.
    """
    positions = position_counts(signal.positions, window.rows)
    labelled = chosen(window.rows["key"], signal.records, seed)
    in_batch = labelled
    if asked != signal.records:
        in_batch = chosen(window.rows["key"], asked, seed)
    counts = np.where(labelled, positions, 0)
    starts = np.cumsum(counts) - counts
    out: Arrays = {}
    for batch, answer in zip(window.batches, answers, strict=True):
        rows = batch.plan.real_rows
        given = np.where(in_batch[rows], positions[rows], 0)
        shift = starts[rows] - (np.cumsum(given) - given)
        places = np.arange(int(given.sum())) + np.repeat(shift, given)
        kept = np.repeat(labelled[rows], given)
        _scatter(out, answer[name], kept=kept, places=places, count=int(counts.sum()))
    return FlatLabels(arrays=out, counts=counts)


def refuse_faults(encoding: Encoding, labels: FlatLabels, window: Window) -> None:
    """Refuses labels that no sound teacher gives, before any of the shard is written.

    Raises:
      LimbeckError: naming the family, the record's key, the position and what is wrong.
    """
    if not labels.arrays:
        return
    fault = codecs.find_fault(encoding.fitted, labels.arrays, dims=encoding.dims)
    if fault is None:
        fault = find_constant(encoding.fitted.signal, labels.arrays, inputs=_inputs(labels, window))
    if fault is not None:
        raise LimbeckError(f"family {encoding.name}: {_where(fault, labels, window)}")


def label_records(encoding: Encoding, labels: FlatLabels, window: Window) -> RowBatch:
    """The records of a family for a window: those rows that it labels."""
    own = np.flatnonzero(encoding.labelled(window.rows))
    rows = {name: values[own] for name, values in window.rows.items()}
    counts = labels.counts[own]
    fields: Arrays | list[dict[str, np.ndarray]] = []
    if len(own):
        made = codecs.to_records(encoding.fitted, labels.arrays, counts, layout=encoding.layout)
        digests = row_digests(rows, encoding.fitted.signal.positions)
        fields = {**made, "key": rows["key"], "digest": digests}
    return RowBatch(
        rows=fields,
        lengths=rows["num_tokens"].astype(np.uint32),
        labelled_positions=int(counts.sum()),
    )


def row_digests(rows: Mapping[str, np.ndarray], group: Group) -> np.ndarray:
    """(n, 8) digests of the inputs of rows, with their positions where these are chosen ones."""
    selected = (rows["mask_positions"], rows["num_masked"]) if group == "masked" else ()
    return input_digest(rows["ids"], rows["num_tokens"], rows["segment_split"], *selected)


def _scatter(
    out: Arrays,
    values: Mapping[str, np.ndarray],
    *,
    kept: np.ndarray,
    places: np.ndarray,
    count: int,
) -> None:
    """out[places] = values, where kept; later dimensions grow with those of the batches."""
    everything = bool(kept.all())
    where = places if everything else places[kept]
    for name, array in values.items():
        out[name] = _room(out.get(name), array, count)
        used = (where, *(slice(size) for size in array.shape[1:]))
        out[name][used] = array if everything else array[kept]


def _room(there: np.ndarray | None, array: np.ndarray, count: int) -> np.ndarray:
    """(count, ...) zeros, or what is there, as large in later dimensions as the array."""
    if there is None:
        return np.zeros((count, *array.shape[1:]), array.dtype)
    shape = (count, *np.maximum(there.shape[1:], array.shape[1:]).tolist())
    if shape == there.shape:
        return there
    larger = np.zeros(shape, there.dtype)
    larger[tuple(slice(size) for size in there.shape)] = there
    return larger


def _where(fault: Fault, labels: FlatLabels, window: Window) -> str:
    row = labels.row_of(fault.position)
    slot = fault.position - int(labels.counts[:row].sum())
    key = window.rows["key"][row]
    return (
        f"record {key.tobytes().hex()} ({split_key(key)}), position slot {slot}: {fault.reason}; "
        "the teacher or its weights are broken"
    )


def _inputs(labels: FlatLabels, window: Window) -> np.ndarray:
    """(M,) which input each position is of: equal numbers for rows of equal tokens."""
    _, kind = np.unique(window.rows["ids"], axis=0, return_inverse=True)
    return np.repeat(kind.reshape(-1), labels.counts)
