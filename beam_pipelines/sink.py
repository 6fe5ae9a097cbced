"""The keyed sink: rows go to the shard that their key names, and a shard is written whole.

GroupByKey brings a shard's rows together; the worker sorts and writes them under their final names
by `DatasetWriter.write_shard`. A retried or doubled attempt writes the same bytes again, so nothing
depends on bundles, workers or retries, and nothing is left over. The rows of one shard must fit
into a worker's memory: choose the number of shards accordingly.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from beam_pipelines.outcomes import Outcome
from limbeck.records.writer import DatasetWriter, Rows

__all__ = ["Block", "ShardRows", "Target", "WriteShards"]

Block = tuple[tuple[int, int], Any]
"""((number of the target, shard), some rows of it in a form that Beam can ship)."""


@dataclass(frozen=True, kw_only=True)
class ShardRows:
    """All rows of a shard, as `DatasetWriter.write_shard` takes them."""

    rows: Rows
    """Columns of a fixed layout, or one dict a record."""
    num_rows: int
    """How many there are."""
    lengths: Any = None
    """Tokens of each row; None where a row has none."""
    labelled_positions: int = 0
    """Positions that carry a label, over all rows."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A dataset to be written, and which of its shards an earlier run has finished."""

    writer: DatasetWriter
    """Where to."""
    done: Mapping[int, int]
    """Shards that need not be written, and how many rows each holds."""


class WriteShards(beam.PTransform):
    """Blocks -> shard files; returns the outcomes `NAME/written`, the rows of each shard."""

    def __init__(
        self, targets: Sequence[Target], assemble: Callable[[Iterable[Any]], ShardRows]
    ) -> None:
        """Takes the datasets, by number, and what makes a shard's rows of its blocks."""
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
        return (
            (blocks | beam.Filter(_is_wanted, {place for place, _ in wanted}), markers)
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.FlatMap(_write, self._targets, self._assemble)
        )


def _is_wanted(block: Block, wanted: set[tuple[int, int]]) -> bool:
    return block[0] in wanted


def _write(
    group: tuple[tuple[int, int], Iterable[Any]],
    targets: tuple[Target, ...],
    assemble: Callable[[Iterable[Any]], ShardRows],
) -> Iterator[Outcome]:
    (number, shard), blocks = group
    writer = targets[number].writer
    shard_rows = assemble(block for block in blocks if block is not None)
    writer.write_shard(
        shard,
        shard_rows.rows,
        lengths=shard_rows.lengths,
        labelled_positions=shard_rows.labelled_positions,
    )
    yield f"{writer.name}/written", shard_rows.num_rows, ""
