"""Bytes that a job will write, and whether the disk holds them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from extract.job import Job
from limbeck.config.errors import UsageError
from limbeck.records.files import bytes_in

__all__ = ["Space", "refuse_without_space", "space_of"]

INDEX_BYTES = 40  # a record in the index, at most: key, CRC, length, offset, bitmap
SPREAD = 1.1  # records of varying size may be larger than those of the sample


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is needed and what is there."""

    families: Mapping[str, float]
    """Family name -> bytes of all its records when it is whole."""
    needed_bytes: int
    """Of all families, less what is there already, with the largest shards while they are made."""
    free_bytes: int
    """Of the disk."""


def space_of(job: Job, record_bytes: Mapping[str, float]) -> Space:
    """Counts what families need.

    Args:
      job: prepared.
      record_bytes: family name -> bytes of a record on the disk.
    """
    num_rows = job.examples.num_rows
    needed, families = 0.0, {}
    largest = max((shard.records for shard in job.examples.content.shards), default=0)
    for name, family in job.families.items():
        records = num_rows * family.signal.records
        families[name] = record_bytes[name] * records
        if family.manifest is not None:
            continue
        spread = 1.0 if family.encoding.layout.stride_is_fixed else SPREAD
        needed += families[name] * spread + INDEX_BYTES * records
        needed += sum(len(data) for data in family.writer.attachments.values())
        needed -= bytes_in(family.writer.directory)
        if largest > job.windows.window_rows:  # windows are put aside before they are merged
            needed += record_bytes[name] * spread * largest * family.signal.records
    return Space(
        families=families,
        needed_bytes=max(0, int(needed)),
        free_bytes=shutil.disk_usage(_existing(job.settings.out)).free,
    )


def refuse_without_space(out: str, *, needed_bytes: int, free_bytes: int) -> None:
    """Refuses a job whose families cannot fit the disk.

    Raises:
      UsageError: when more is needed than is free.
    """
    if needed_bytes > free_bytes:
        raise UsageError(
            f"{out}: the families need {needed_bytes / 1e9:.1f} GB more and the disk has "
            f"{free_bytes / 1e9:.1f} GB free; free some space, or keep less (k, positions, layers, "
            "records)"
        )


def _existing(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
