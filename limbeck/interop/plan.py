"""What is known of an import before the first shard is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.interop.features import Schema, read_chunks, stack
from limbeck.interop.first_seed import kept_ids
from limbeck.interop.sources import Source, scan
from limbeck.labels.signals import LabelDims, SparseSignal
from limbeck.records.examples import examples_layout
from limbeck.records.layout import Layout

__all__ = ["Plan", "make_plan", "row_bytes"]

SHARD_BYTES = 1 << 28  # aimed at when the number of shards is not given


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The files, the shape of their records, and how many shards they become."""

    sources: tuple[Source, ...]
    """The files."""

    schema: Schema
    """What their records must look like."""

    lengths: dict[str, int]
    """Lengths of their features, by name, from the first record."""

    vocab_size: int
    """V."""

    asked_shards: int
    """Number of shards; 0 chooses by size."""

    @property
    def num_records(self) -> int:
        """Records of all files together."""
        return sum(source.num_records for source in self.sources)

    @property
    def num_shards(self) -> int:
        """Shards of every dataset made."""
        layouts = [self.examples_layout]
        if self.signal is not None:
            layouts.append(self.labels_layout(self.signal))
        size = self.num_records * max(map(row_bytes, layouts))
        return self.asked_shards or -(-size // SHARD_BYTES)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the content, for the manifests."""
        files = [{"sha256": s.sha256, "records": s.num_records} for s in self.sources]
        return {"imported": {"schema": self.schema.name, "files": files}}

    @property
    def examples_layout(self) -> Layout:
        """Layout of the examples."""
        return examples_layout(
            seq_length=self.lengths["sequence"],
            max_predictions=self.lengths["slots"],
            vocab_size=self.vocab_size,
        )

    @property
    def signal(self) -> SparseSignal | None:
        """What the labels hold; None where the records carry none."""
        if "slots * k" not in self.lengths:
            return None
        k = kept_ids(self.lengths["slots * k"], self.lengths["slots"], where=self.sources[0].path)
        return SparseSignal(k=k, temperatures=(1.0,))

    def labels_layout(self, signal: SparseSignal) -> Layout:
        """Layout of the labels."""
        dims = LabelDims(
            seq_length=self.lengths["sequence"],
            max_predictions=self.lengths["slots"],
            vocab_size=self.vocab_size,
        )
        return signal.layout(dims)


def make_plan(files: Sequence[str], *, schema: Schema, vocab_size: int, shards: int) -> Plan:
    """Reads the files once and the first record for the shape of all.

    Args:
      files: paths.
      schema: what the records must look like.
      vocab_size: V.
      shards: wanted number of shards, 0 to choose by size.

    Raises:
      LimbeckError: a file is damaged, or its first record is not of the schema.
    """
    sources = scan(files)
    first = next(read_chunks(sources[0].path, chunk_records=1))
    record = stack(first, schema)
    plan = Plan(
        sources=sources,
        schema=schema,
        lengths={spec[1]: record[name].shape[1] for name, spec in schema.features.items()},
        vocab_size=vocab_size,
        asked_shards=shards,
    )
    try:
        _ = plan.num_shards  # makes every layout
    except LimbeckError:
        raise
    except ValueError as error:  # lengths that our layouts cannot have
        raise UsageError(f"{first.where(0)}: {error}") from error
    return plan


def row_bytes(layout: Layout) -> int:
    """Returns the bytes of a row's arrays in memory."""
    return sum(field.num_bytes for field in layout.fields)
