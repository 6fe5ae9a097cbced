"""What may lie in a dataset directory, and what to say about everything else."""

import os
import stat
from collections.abc import Iterator
from typing import Literal

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.errors import FIX, FIX_JSON
from limbeck.records.files import final_name, is_temporary
from limbeck.records.job import Job
from limbeck.records.manifest import MANIFEST, Content, Manifest, read_manifest
from limbeck.records.shard import SHARD_FILE, shard_files

__all__ = [
    "JOB",
    "check_files",
    "describe_foreign",
    "file_problems",
    "foreign_files",
    "own_names",
    "read_finished",
]

JOB = "job.json"
SHOWN = 3  # foreign files named in full; more would hide the way out


def own_names(job: Job) -> set[str]:
    """Returns the names of all files of a finished dataset directory."""
    shards = (shard_files(job.name, i, job.num_shards) for i in range(job.num_shards))
    return {MANIFEST, JOB, *job.attachments, *(name for files in shards for name in files)}


def foreign_files(directory: str, job: Job) -> list[str]:
    """Returns what lies in `directory` and is neither the job's nor a leftover of writing it."""
    own = own_names(job)
    return sorted(n for n in os.listdir(directory) if final_name(n) not in own)


def describe_foreign(names: list[str], job: Job) -> str:
    """Returns `x.tfrecord (a shard of another run, with 8 shards), y and 3 more`."""
    shown = [_describe(name, job) for name in names[:SHOWN]]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    parts = shown + more
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def check_files(
    directory: str, content: Content, *, temporary: Literal["refused", "allowed"] = "refused"
) -> None:
    """Checks presence, sizes and JSON of every listed file, and that there are no others.

    Args:
      directory: of the dataset.
      content: what its manifest says.
      temporary: whether other processes may be writing the same files still.

    Raises:
      LimbeckError: naming the first file, what was expected and what was found.
    """
    for problem in file_problems(directory, content, temporary=temporary):
        raise LimbeckError(problem)


def file_problems(
    directory: str, content: Content, *, temporary: Literal["refused", "allowed"] = "refused"
) -> Iterator[str]:
    """Yields a line for each file that is missing, of another size, changed, or not listed."""
    job = content.job
    own = own_names(job)
    extra = sorted(set(os.listdir(directory)) - own)
    if temporary == "allowed":
        extra = [name for name in extra if final_name(name) not in own]
    if extra:
        yield (
            f"{directory}: holds files that its manifest does not list: "
            f"{describe_foreign(extra, job)}; move or delete them"
        )
    jsons = {shard.json_name: job.shard_bytes(shard) for shard in content.shards}
    for name, expected in {JOB: job.to_bytes(), **jsons}.items():
        path = os.path.join(directory, name)
        fix = FIX_JSON if name == JOB else FIX
        yield from _size_problems(path, len(expected), fix) or _byte_problems(path, expected, fix)
    for name, described in content.attachments.items():
        yield from _size_problems(os.path.join(directory, name), described["bytes"], FIX_JSON)
    for shard in content.shards:
        for name, size in ((shard.name, shard.bytes), (shard.index_name, shard.index_bytes)):
            yield from _size_problems(os.path.join(directory, name), size, FIX)


def read_finished(directory: str) -> Manifest:
    """Reads the manifest of a finished dataset.

    Raises:
      UsageError: there is no such directory.
      LimbeckError: there is no manifest (with the likely reason), or it is damaged.
    """
    if not os.path.isdir(directory):
        raise UsageError(f"{directory}: no such directory")
    try:
        return read_manifest(directory)
    except FileNotFoundError:
        raise LimbeckError(_not_finished(directory)) from None


def _describe(name: str, job: Job) -> str:
    if is_temporary(name):
        return f"{name} (left by a killed process, or another is writing here now)"
    match = SHARD_FILE.fullmatch(name)
    if not match:
        return name
    if match["name"] != job.name:
        return f"{name} (of another dataset, {match['name']!r})"
    return f"{name} (of another run, with {int(match['total'])} shards; ours has {job.num_shards})"


def _size_problems(path: str, expected: int, fix: str) -> list[str]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return [f"{path}: missing; the manifest lists it; {fix}"]
    if not stat.S_ISREG(found.st_mode):
        return [f"{path}: not a file; {fix}"]
    if found.st_size == expected:
        return []
    how = "cut short" if found.st_size < expected else "too long"
    return [f"{path}: {how}: expected {expected} bytes, found {found.st_size}; {fix}"]


def _byte_problems(path: str, expected: bytes, fix: str) -> list[str]:
    with open(path, "rb") as file:
        found = file.read(len(expected))
    if found == expected:
        return []
    pairs = enumerate(zip(expected, found, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), len(found))
    return [
        f"{path}: byte {at}: expected {expected[at : at + 8]!r}, found {found[at : at + 8]!r}: "
        f"it does not fit the manifest; {fix}"
    ]


def _not_finished(path: str) -> str:
    """Says why a directory without a manifest is no dataset, and what to do."""
    if os.path.exists(os.path.join(path, JOB)):
        return (
            f"{path}: no {MANIFEST}: the run that writes it has not finished; run its command again"
        )
    inside = sorted(
        name for name in os.listdir(path) if os.path.exists(os.path.join(path, name, MANIFEST))
    )
    if inside:
        return f"{path}: no {MANIFEST}; did you mean {os.path.join(path, inside[0])}?"
    return f"{path}: no {MANIFEST}: not a dataset directory"
