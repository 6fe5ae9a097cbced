"""What an earlier run left in a directory, and how much of it a run of the same job may keep."""

import dataclasses
import hashlib
import logging
import os
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.directory import JOB
from limbeck.records.job import Job, unseal
from limbeck.records.manifest import read_manifest
from limbeck.records.shard import ShardSummary, shard_files

__all__ = ["Found", "check_taken", "finished_shards", "job_there", "read_summary"]

LOG = logging.getLogger(__name__)


def job_there(directory: str) -> dict[str, Any] | None:
    """Returns, as JSON, the job that a directory was taken for; None if for none.

    The manifest stands in for a job file that was lost.

    Raises:
      UsageError: the file that says so is damaged.
    """
    try:
        with open(os.path.join(directory, JOB), "rb") as file:
            return unseal(file.read(), file.name)
    except FileNotFoundError:
        pass
    except LimbeckError as error:
        raise UsageError(f"{error}; choose another --out or delete the directory") from error
    try:
        return read_manifest(directory).content.job.to_json()
    except FileNotFoundError:
        return None
    except LimbeckError as error:
        raise UsageError(f"{error}; or choose another --out") from error


def check_taken(directory: str, job: Job) -> None:
    """Refuses a directory that `DatasetWriter.open` has not taken for this job."""
    path = os.path.join(directory, JOB)
    try:
        with open(path, "rb") as file:
            mine = file.read() == job.to_bytes()
    except FileNotFoundError:
        raise LimbeckError(f"{path}: missing; call open() before writing shards") from None
    if not mine:
        raise LimbeckError(f"{path}: the directory was taken by another job meanwhile")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What is there of a job's shards."""

    done: dict[int, ShardSummary]
    """The finished ones."""
    damaged: list[int]
    """Those whose bytes are not what their JSON says."""


def finished_shards(directory: str, job: Job, share: tuple[int, int] = (0, 1)) -> Found:
    """Looks for the finished shards of `job`; each byte of them is read and hashed.

    A damaged one is told of by a warning.

    Args:
      directory: of the dataset.
      job: what it is being filled with.
      share: (i, n): reads the data of every n-th shard from the i-th on only.
    """
    first, step = share
    found = Found(done={}, damaged=[])
    for index in range(job.num_shards):
        try:
            summary = read_summary(directory, job, index)
            if summary is None:
                continue
            found.done[index] = summary
            if index % step != first % step:
                continue
            _check_bytes(os.path.join(directory, summary.name), summary.bytes, summary.sha256)
            index_path = os.path.join(directory, summary.index_name)
            _check_bytes(index_path, summary.index_bytes, summary.index_sha256)
        except LimbeckError as error:
            LOG.warning("%s; the shard will be written again", error)
            found.done.pop(index, None)
            found.damaged.append(index)
    return found


def read_summary(directory: str, job: Job, index: int) -> ShardSummary | None:
    """Returns what the JSON of shard `index` says; None if there is none.

    Raises:
      LimbeckError: it is damaged, or of another job or shard.
    """
    data_name, _, json_name = shard_files(job.name, index, job.num_shards)
    path = os.path.join(directory, json_name)
    try:
        with open(path, "rb") as file:
            summary = job.read_shard(file.read(), path)
    except FileNotFoundError:
        return None
    if summary.name != data_name:
        raise LimbeckError(f"{path}: says that it is of {summary.name!r}; delete it")
    return summary


def _check_bytes(path: str, size: int, sha256: str) -> None:
    try:
        with open(path, "rb") as file:
            good = os.fstat(file.fileno()).st_size == size
            good = good and hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        raise LimbeckError(f"{path}: missing, though its JSON is there") from None
    if not good:
        raise LimbeckError(f"{path}: size or SHA-256 is not what its JSON says")
