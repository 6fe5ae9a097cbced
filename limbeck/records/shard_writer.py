"""Writes the three files of one shard from its rows, whatever order they come in."""

# N rows of the shard

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_file, atomic_write, scratch_file
from limbeck.records.index import encode_index
from limbeck.records.job import Job
from limbeck.records.keys import shards_of, split_key
from limbeck.records.layout import Layout
from limbeck.records.selection import Selection
from limbeck.records.shard import NO_KEY, ShardSummary, key_xor, shard_files
from limbeck.records.sorted_rows import RowBatch, SortedRows, SortedRuns, sort_batch

__all__ = ["write_shard_files"]

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """The data file of a shard."""

    size: int
    """Bytes."""
    sha256: str
    """Hex."""
    columns: dict[str, Array]
    """`crc`, and for a variable layout `offset`, of the index."""


def write_shard_files(
    directory: str,
    job: Job,
    index: int,
    batches: Iterable[RowBatch],
    selection: Selection | None = None,
) -> ShardSummary:
    """Writes data, index and JSON of shard `index`; see `DatasetWriter.write_batches`.

    Args:
      directory: of the dataset.
      job: what it is being filled with.
      index: number of the shard.
      batches: its rows.
      selection: which rows of the parent's shard they are; None where they are all.
    """
    data_name, index_name, json_name = shard_files(job.name, index, job.num_shards)
    data_path = os.path.join(directory, data_name)
    with contextlib.ExitStack() as stack:
        rows = _sorted(job.layout, batches, data_path, stack)
        _check_keys(job, index, rows.keys)
        if selection is not None and selection.num_rows != len(rows.keys):
            raise ValueError(
                f"{data_name}: {len(rows.keys)} rows and {selection.num_rows} rows of the parent"
            )
        written = _write_data(data_path, job.layout, rows)
    columns = {"key": rows.keys, **written.columns}
    if rows.lengths is not None:
        columns["length"] = rows.lengths
    size, sha256 = written.size, written.sha256
    index_bytes = encode_index(
        columns, name=data_name, size=size, sha256=sha256, selection=selection
    )
    atomic_write(os.path.join(directory, index_name), index_bytes)
    keys = rows.keys
    summary = ShardSummary(
        name=data_name,
        records=len(keys),
        bytes=size,
        sha256=sha256,
        first_key=keys[0].tobytes().hex() if len(keys) else NO_KEY,
        last_key=keys[-1].tobytes().hex() if len(keys) else NO_KEY,
        key_xor=key_xor(keys),
        tokens=0 if rows.lengths is None else int(rows.lengths.sum(dtype=np.int64)),
        labelled_positions=rows.labelled_positions,
        index_bytes=len(index_bytes),
        index_sha256=hashlib.sha256(index_bytes).hexdigest(),
    )
    atomic_write(os.path.join(directory, json_name), job.shard_bytes(summary))
    return summary


def _sorted(
    layout: Layout, batches: Iterable[RowBatch], path: str, stack: contextlib.ExitStack
) -> SortedRows:
    """Returns the rows of all batches in order; more than one are merged through a file."""
    batches = iter(batches)
    first = sort_batch(layout, next(batches, RowBatch(rows=[])))
    second = next(batches, None)
    if second is None:
        return first
    runs = SortedRuns(layout, stack.enter_context(scratch_file(path)))
    runs.add(first)
    del first  # its rows: from here on only one batch is in memory
    runs.add(sort_batch(layout, second))
    del second
    for batch in batches:
        runs.add(sort_batch(layout, batch))
    return runs.merge()


def _write_data(path: str, layout: Layout, rows: SortedRows) -> Written:
    digest = hashlib.sha256()
    crcs, sizes = [np.zeros(0, np.uint32)], [np.zeros(1, np.uint64)]
    with atomic_file(path) as file:
        for chunk in rows.chunks:
            digest.update(chunk.data)
            file.write(chunk.data)
            crcs.append(chunk.crcs)
            sizes.append(chunk.sizes)
        size = file.tell()
    columns: dict[str, Array] = {"crc": np.concatenate(crcs)}
    if not layout.stride_is_fixed:
        columns["offset"] = np.cumsum(np.concatenate(sizes), dtype=np.uint64)
    return Written(size=size, sha256=digest.hexdigest(), columns=columns)


def _check_keys(job: Job, index: int, keys: npt.NDArray[np.uint8]) -> None:
    """Checks that sorted keys (N, 16) differ and belong to shard `index`."""
    if not 0 <= index < job.num_shards:
        raise ValueError(f"shard {index}: there are {job.num_shards} shards, from 0")
    where = f"{job.name}, shard {index}"
    twice = np.flatnonzero((keys[1:] == keys[:-1]).all(1))
    if twice.size:
        key = keys[twice[0]]
        raise LimbeckError(
            f"{where}: {twice.size} keys occur twice, first {key.tobytes().hex()} "
            f"({split_key(key)}); every record needs a key of its own"
        )
    # The shard rises with the order hash, by which the keys are sorted: the ends tell of all.
    if (shards_of(keys[[0, -1]] if len(keys) else keys, job.num_shards) == index).all():
        return
    shards = shards_of(keys, job.num_shards)
    wrong = keys[np.flatnonzero(shards != index)[0]]
    raise LimbeckError(
        f"{where}: key {wrong.tobytes().hex()} ({split_key(wrong)}) belongs to shard "
        f"{shards_of(wrong[None], job.num_shards)[0]} of {job.num_shards}; "
        "place rows with shards_of"
    )
