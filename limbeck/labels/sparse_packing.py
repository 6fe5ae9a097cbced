"""Sparse labels with unlike numbers of entries, as the packed bytes of records.

`payload` of a record with n positions, most significant bit first (`limbeck.labels.sparse_bits`):

    num_head                 n x 8 or 16 bits (16 where a position may have more than 255 entries)
    num_sampled              n x 8 or 16, signals with a sample only
    zmax                     n x 32, form grid only
    true_logit               n x 32, form grid at masked positions only
    log_tail                 n x G x 32, all but the lean form with a sample
    cells of the head        for each position its sorted cells in unary: a one for each id, a zero
                             behind each cell
    cells of the sample      likewise
    places of the head       the place of each id in its cell, as many bits as the cell has
    places of the sample     likewise
    values of the head       16 bits of a float16 logit, or CODE_BITS of a code (lean with a sample)
    values of the sample     16 bits of a float16 logit, form grid only

Floats are their IEEE bits. `limbeck.labels.sparse_cells` has the cells. Nothing is lost.
"""

# n records, M positions of all records, X entries of all positions, E entries at most

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.labels.fitted import Fitted
from limbeck.labels.positions import FlatPositions
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_bits import BitReader, BitWriter
from limbeck.labels.sparse_cells import Cells, cells_of

__all__ = ["CODE_BITS", "pack", "unpack", "value_name"]

CODE_BITS = 10  # of sqrt(p): p to 1 % at p = 1/120, to 0.1 % at p = 1; squared error 1e-7
PAYLOAD = "payload of a sparse label"


@dataclass(frozen=True, kw_only=True)
class _Entries:
    """One class of entries, position by position, by id."""

    counts: np.ndarray
    """(M,)."""
    positions: np.ndarray
    """(X,) whose each is."""
    columns: np.ndarray
    """(X,) which entry of the position."""


def value_name(signal: SparseSignal) -> str:
    """The array that holds what is known of an entry: `codes` or `logits`."""
    return "codes" if signal.form == "lean" and signal.sample else "logits"


def pack(fitted: Fitted, arrays: Mapping[str, np.ndarray], counts: np.ndarray) -> np.ndarray:
    """(n,) payloads, as objects, of flat encoded arrays of records with so many positions."""
    signal, cells = _signal(fitted), cells_of(fitted)
    owners = np.repeat(np.arange(len(counts)), counts)
    writer = BitWriter(len(counts))
    for name, count_bits in _counted(signal):
        writer.put(np.asarray(arrays[name], np.int64), count_bits, owners)
    for name, repeats in _floats(signal):
        words = np.ascontiguousarray(arrays[name], np.float32).view(np.uint32)
        writer.put(words.reshape(-1), 32, np.repeat(owners, repeats))
    groups = _groups(signal, arrays)
    ordered = []
    for entries in groups:
        ranks = cells.ranks[np.asarray(arrays["ids"])[entries.positions, entries.columns]]
        order = np.lexsort((ranks, entries.positions))
        ranks, positions = ranks[order], entries.positions[order]
        cell, width, start = _cells_of_ranks(cells, ranks, entries.counts, positions)
        nth = np.arange(len(positions)) - _first(entries.counts)[positions]
        writer.put_ones(_lengths(cells, entries.counts), owners, positions, cell + nth)
        ordered.append((ranks - start, width, owners[positions], order, entries))
    for place, width, owner, _, _ in ordered:
        writer.put(place, width, owner)
    stored = np.asarray(arrays[value_name(signal)])
    words = stored.view(np.uint16) if stored.dtype == np.float16 else stored
    for (_, _, owner, order, entries), bits in zip(ordered, _value_widths(signal), strict=False):
        writer.put(words[entries.positions, entries.columns][order], bits, owner)
    payloads = np.empty(len(counts), object)
    payloads[:] = writer.finish()
    return payloads


def unpack(
    fitted: Fitted, payloads: np.ndarray, num_positions: np.ndarray
) -> tuple[dict[str, np.ndarray], FlatPositions]:
    """The inverse of `pack`: flat encoded arrays, and where each position is.

    Raises:
      LimbeckError: bytes that are not what these options write.
    """
    signal, cells = _signal(fitted), cells_of(fitted)
    slots = np.asarray(num_positions, np.int64)
    owners = np.repeat(np.arange(len(slots)), slots)
    reader = BitReader([bytes(payload) for payload in payloads], where=PAYLOAD)
    arrays: dict[str, np.ndarray] = {}
    for name, count_bits in _counted(signal):
        arrays[name] = reader.get(count_bits, owners).astype(np.uint16)
    for name, repeats in _floats(signal):
        words = reader.get(32, np.repeat(owners, repeats)).astype(np.uint32)
        shape = (-1, repeats) if name == "log_tail" else (-1,)
        arrays[name] = words.view(np.float32).reshape(shape)
    groups = _groups(signal, arrays)
    found = []
    for entries in groups:
        runs, places = reader.get_ones(_lengths(cells, entries.counts), owners)
        if not np.array_equal(runs, entries.positions):
            raise LimbeckError(f"{PAYLOAD}: it does not have as many ids as it counts; verify it")
        nth = np.arange(len(runs)) - _first(entries.counts)[runs]
        width, start = _cells_at(cells, places - nth, entries.counts, runs)
        found.append((width, start, owners[runs]))
    ranks = [reader.get(width, owner) + start for width, start, owner in found]
    values = [
        reader.get(bits, owner)
        for (_, _, owner), bits in zip(found, _value_widths(signal), strict=False)
    ]
    reader.finish()
    _fill(arrays, signal, cells, groups, ranks, values)
    starts = np.cumsum(slots) - slots
    return arrays, FlatPositions(rows=owners, slots=np.arange(len(owners)) - starts[owners])


def _fill(
    arrays: dict[str, np.ndarray],
    signal: SparseSignal,
    cells: Cells,
    groups: list[_Entries],
    ranks: list[np.ndarray],
    values: list[np.ndarray],
) -> None:
    """Puts entries back into (M, E), by id."""
    shape = (len(arrays["num_head"]), signal.max_entries)
    stored = np.zeros(shape, np.uint16)
    arrays["ids"] = np.zeros(shape, np.uint16 if len(cells.ids) <= 1 << 16 else np.uint32)
    for number, entries in enumerate(groups):
        if (ranks[number] >= len(cells.ids)).any():
            raise LimbeckError(f"{PAYLOAD}: an id is not in the vocabulary; verify it")
        if (entries.columns >= signal.max_entries).any():
            raise LimbeckError(f"{PAYLOAD}: a position has too many entries; verify it")
        ids = cells.ids[ranks[number]]
        order = np.lexsort((ids, entries.positions))
        arrays["ids"][entries.positions, entries.columns] = ids[order]
        if number < len(values):
            stored[entries.positions, entries.columns] = values[number][order]
    name = value_name(signal)
    arrays[name] = stored if name == "codes" else stored.view(np.float16)


def _counted(signal: SparseSignal) -> list[tuple[str, int]]:
    width = 8 if signal.max_entries < 256 else 16
    names = ["num_head", "num_sampled"] if signal.sample else ["num_head"]
    return [(name, width) for name in names]


def _floats(signal: SparseSignal) -> list[tuple[str, int]]:
    """Float32 arrays of a position, and how many numbers each is."""
    fields = [("zmax", 1)] if signal.form == "grid" else []
    if signal.needs_true_ids:
        fields.append(("true_logit", 1))
    if value_name(signal) == "logits":
        fields.append(("log_tail", len(signal.temperatures)))
    return fields


def _value_widths(signal: SparseSignal) -> list[int]:
    """Bits of a value of the head and of the sample."""
    if value_name(signal) == "codes":
        return [CODE_BITS]
    return [16, 16] if signal.sample else [16]


def _groups(signal: SparseSignal, arrays: Mapping[str, np.ndarray]) -> list[_Entries]:
    """Head and, where there is one, sample."""
    heads = np.asarray(arrays["num_head"], np.int64)
    groups = [_entries(heads, np.zeros_like(heads))]
    if signal.sample:
        groups.append(_entries(np.asarray(arrays["num_sampled"], np.int64), heads))
    return groups


def _entries(counts: np.ndarray, first_column: np.ndarray) -> _Entries:
    positions = np.repeat(np.arange(len(counts)), counts)
    columns = np.arange(len(positions)) - _first(counts)[positions] + first_column[positions]
    return _Entries(counts=counts, positions=positions, columns=columns)


def _first(counts: np.ndarray) -> np.ndarray:
    """Index of each position's first entry among all entries."""
    return np.asarray(np.cumsum(counts) - counts)


def _lengths(cells: Cells, counts: np.ndarray) -> np.ndarray:
    """(M,) bits of the unary part."""
    levels = cells.levels_of(counts)
    lengths = np.zeros_like(counts)
    for number in np.unique(levels[levels >= 0]).tolist():
        lengths[levels == number] = len(cells.level(number).starts)
    return lengths + counts


def _cells_of_ranks(
    cells: Cells, ranks: np.ndarray, counts: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X,) cell, its bits and its first rank."""
    levels = cells.levels_of(counts)[positions]
    cell, width, start = (np.zeros(len(ranks), np.int64) for _ in range(3))
    for number in np.unique(levels).tolist():
        level, here = cells.level(number), levels == number
        cell[here] = np.searchsorted(level.starts, ranks[here], side="right") - 1
        width[here], start[here] = level.widths[cell[here]], level.starts[cell[here]]
    return cell, width, start


def _cells_at(
    cells: Cells, cell: np.ndarray, counts: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(X,) bits and first rank of cells."""
    levels = cells.levels_of(counts)[positions]
    width, start = (np.zeros(len(cell), np.int64) for _ in range(2))
    for number in np.unique(levels).tolist():
        level, here = cells.level(number), levels == number
        if (cell[here] >= len(level.starts)).any():
            raise LimbeckError(f"{PAYLOAD}: an id is in no cell; verify it")
        width[here], start[here] = level.widths[cell[here]], level.starts[cell[here]]
    return width, start


def _signal(fitted: Fitted) -> SparseSignal:
    assert isinstance(fitted.signal, SparseSignal)
    return fitted.signal
