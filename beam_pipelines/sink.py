"""The keyed sink: rows go to the shard that their key names, and a shard is written whole.

On the local runner the rows are put aside on disk (`beam_pipelines.spill`) and only their places
are grouped; on other runners the rows themselves are, which is what those runners are made for. A
worker then takes the rows of one shard batch by batch, and `DatasetWriter.write_batches` sorts and
merges them into files under their final names. So memory is bounded by a batch, not by a shard. A
retried or doubled attempt writes the same bytes again: nothing depends on bundles, workers or
retries, and nothing is left over.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_pipelines.outcomes import Outcome
from beam_pipelines.remote import RemoteWriter
from beam_pipelines.spill import Extent, Place, Spill, read_extent
from limbeck.records.writer import DatasetWriter, RowBatch, Rows

__all__ = ["Block", "ShardRows", "Target", "WriteShards"]

Block = tuple[Place, Any]
"""((number of the target, shard), some rows of it in a form that Beam can ship)."""

_BATCH_BYTES = 32 << 20  # of blocks that are sorted at a time


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """Rows of a shard, as `DatasetWriter.write_batches` takes them."""

    rows: Rows
    """Columns of a fixed layout, or one dict a record."""
    num_rows: int
    """How many there are."""
    lengths: Any = None
    """Tokens of each row; None where a row has none."""
    labelled_positions: int = 0
    """Positions that carry a label, over these rows."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A dataset to be written, and which of its shards an earlier run has finished."""

    writer: DatasetWriter | RemoteWriter
    """Where to."""
    done: Mapping[int, int]
    """Shards that need not be written, and how many rows each holds."""
    spill: str = ""
    """Directory for rows on their way, seen by all workers; empty where the runner groups them."""


class WriteShards(beam.PTransform):
    """Blocks -> shard files; returns the outcomes `NAME/written`, the rows of each shard."""

    def __init__(
        self, targets: Sequence[Target], assemble: Callable[[Iterable[Any]], ShardRows]
    ) -> None:
        """Takes the datasets, by number, and what makes rows of blocks.

        `assemble` is called once a batch: with any of a shard's blocks, in any order.
        """
        super().__init__()
        self._targets = tuple(targets)
        self._assemble = assemble

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[Outcome]:
        """Adds the steps."""
        wanted = [
            ((number, shard), None)
            for number, target in enumerate(self._targets)
            for shard in range(target.writer.num_shards)
            if shard not in target.done
        ]
        # A shard without rows is written too: its marker makes a group.
        markers = blocks.pipeline | "Shards" >> beam.Create(wanted, reshuffle=False)
        rows = blocks | "Wanted" >> beam.Filter(_is_wanted, frozenset(p for p, _ in wanted))
        spill = self._targets[0].spill
        if spill:
            rows = rows | "Spill" >> beam.ParDo(Spill(spill))
        return (
            (rows, markers)
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.FlatMap(_write, self._targets, self._assemble)
        )


def _is_wanted(block: Block, wanted: frozenset[Place]) -> bool:
    return block[0] in wanted


def _write(
    group: tuple[Place, Iterable[Any]],
    targets: tuple[Target, ...],
    assemble: Callable[[Iterable[Any]], ShardRows],
) -> Iterator[Outcome]:
    (number, shard), elements = group
    writer = targets[number].writer
    # map and not a loop: it keeps no batch alive while the next one is gathered.
    batches = map(functools.partial(_row_batch, assemble), _batches(_blocks(elements)))
    summary = writer.write_batches(shard, batches)
    yield f"{writer.name}/written", summary.records, ""


def _row_batch(assemble: Callable[[Iterable[Any]], ShardRows], blocks: list[Any]) -> RowBatch:
    rows = assemble(blocks)
    return RowBatch(
        rows=rows.rows, lengths=rows.lengths, labelled_positions=rows.labelled_positions
    )


def _blocks(elements: Iterable[Any]) -> Iterator[Any]:
    for element in elements:
        if isinstance(element, Extent):
            yield from read_extent(element)
        elif element is not None:
            yield element


def _batches(blocks: Iterable[Any]) -> Iterator[list[Any]]:
    """Yields blocks in lists of `_BATCH_BYTES` or so; one empty list where there are none."""
    batch: list[Any] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += _size(block)
        if size >= _BATCH_BYTES:
            yield _take(batch)
            size = 0
    yield _take(batch)


def _take(batch: list[Any]) -> list[Any]:
    """Empties a list and returns what was in it."""
    taken = batch[:]
    batch.clear()
    return taken


def _size(value: Any) -> int:
    """Returns roughly the bytes that a block holds in memory."""
    if isinstance(value, bytes | str):
        return len(value) + _OBJECT_BYTES
    if isinstance(value, Mapping):
        return sum(_size(key) + _size(item) for key, item in value.items())
    if isinstance(value, tuple | list):
        return _OBJECT_BYTES + sum(map(_size, value))
    return int(getattr(value, "nbytes", 0)) + _OBJECT_BYTES


_OBJECT_BYTES = 56  # of a small Python object
