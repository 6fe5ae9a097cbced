"""Fills a dataset with foreign records, as many shards at a time as fit the memory.

A record's place follows from its key, and its key from its file and number: which records a shard
needs is known without decoding any. So each pass reads the files once (checking every CRC) and
decodes only what its shards hold; finished shards of a killed import are not made again.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from limbeck.interop.features import Chunk, read_chunks
from limbeck.interop.plan import Plan, row_bytes
from limbeck.records.keys import shards_of
from limbeck.records.manifest import Manifest, Provenance
from limbeck.records.writer import DatasetWriter

__all__ = ["Columns", "Convert", "fill"]

PASS_BYTES = 1 << 29  # of rows held at a time

Array = npt.NDArray[Any]
Columns = dict[str, Array]
Convert = Callable[[Chunk, npt.NDArray[np.uint8]], tuple[Columns, Array]]
"""(records, their keys) -> (fields of the rows, tokens of each row)."""


def fill(writer: DatasetWriter, plan: Plan, convert: Convert, *, labelled_field: str) -> Manifest:
    """Writes the shards that are not there yet, then the manifest.

    Args:
      writer: opened for this job.
      plan: the files.
      convert: turns records into rows.
      labelled_field: field of the rows that counts their labelled positions.

    Raises:
      LimbeckError: a record is damaged or impossible, or a file changed meanwhile.
    """
    if (finished := writer.finished()) is not None:
        return finished
    started = time.time()
    done = writer.done_shards()
    todo = [index for index in range(writer.num_shards) if index not in done]
    keys = [source.keys() for source in plan.sources]
    shards = [shards_of(k, writer.num_shards) for k in keys]
    counts = np.bincount(np.concatenate(shards), minlength=writer.num_shards)
    most_rows = PASS_BYTES // row_bytes(writer.layout)
    total = int(counts[todo].sum())
    with tqdm(total=total, desc=writer.name, unit=" records", disable=None) as bar:
        for group in passes(counts, todo, most_rows):
            for index, rows, lengths in _read_pass(plan, convert, keys, shards, group, bar):
                labelled = int(rows[labelled_field].sum(dtype=np.int64))
                writer.write_shard(index, rows, lengths=lengths, labelled_positions=labelled)
    for source in plan.sources:
        source.check_unchanged()
    counted = {"in": plan.num_records, "kept": plan.num_records, "filtered": {}, "dead_letters": 0}
    paths = {f"file {i}": source.path for i, source in enumerate(plan.sources)}
    provenance = Provenance.since(started, command=sys.argv, paths=paths)
    return writer.finish(accounting=counted, provenance=provenance)


def passes(counts: npt.NDArray[np.int64], todo: Sequence[int], most: int) -> list[list[int]]:
    """Groups shards so that each group has at most `most` rows, or is a single shard.

    Args:
      counts: (shards,) rows of each shard.
      todo: the shards to group.
      most: rows that fit.
    """
    groups: list[list[int]] = []
    rows = 0
    for index in todo:
        if not groups or rows + counts[index] > most:
            groups.append([])
            rows = 0
        groups[-1].append(index)
        rows += int(counts[index])
    return groups


def _read_pass(
    plan: Plan,
    convert: Convert,
    keys: Sequence[npt.NDArray[np.uint8]],
    shards: Sequence[npt.NDArray[np.int64]],
    group: Sequence[int],
    bar: "tqdm[Any]",
) -> Iterator[tuple[int, Columns, Array]]:
    """Reads all files once and yields (shard, its rows, their lengths) for the group's shards."""
    parts: dict[int, list[tuple[Columns, Array]]] = {index: [] for index in group}
    for source, its_keys, its_shards in zip(plan.sources, keys, shards, strict=True):
        for chunk in read_chunks(source.path, wanted=np.isin(its_shards, group)):
            columns, lengths = convert(chunk, its_keys[chunk.numbers])
            of_shard = its_shards[chunk.numbers]
            for index in np.unique(of_shard):
                mine = of_shard == index
                part = {name: values[mine] for name, values in columns.items()}
                parts[int(index)].append((part, lengths[mine]))
            bar.update(len(chunk.numbers))
    for index in group:
        shard_parts = parts.pop(index) or [_no_rows(plan, convert, keys[0])]
        columns = {
            name: np.concatenate([part[name] for part, _ in shard_parts])
            for name in shard_parts[0][0]
        }
        yield index, columns, np.concatenate([lengths for _, lengths in shard_parts])


def _no_rows(plan: Plan, convert: Convert, keys: npt.NDArray[np.uint8]) -> tuple[Columns, Array]:
    """The rows of a shard that no record falls into: none, of the right shapes."""
    first = next(read_chunks(plan.sources[0].path, chunk_records=1))
    columns, lengths = convert(first, keys[:1])
    return {name: values[:0] for name, values in columns.items()}, lengths[:0]
