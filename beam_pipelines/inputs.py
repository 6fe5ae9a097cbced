"""Input files as a user names them: paths and globs, on this machine or a remote file system."""

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from beam_pipelines.storage import is_remote, match_files, open_file
from limbeck.config.errors import UsageError

__all__ = ["InputFile", "input_files"]

_HASH_BYTES = 1 << 22
_GLOB = "*?["


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file to read."""

    path: str
    """Where it is."""
    size: int
    """Bytes, as it lies there."""

    def identity(self) -> dict[str, Any]:
        """Returns its size and SHA-256: what it is, wherever it lies."""
        digest = hashlib.sha256()
        with open_file(self.path) as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
        return {"bytes": self.size, "sha256": digest.hexdigest()}


def input_files(patterns: Sequence[str]) -> list[InputFile]:
    """Returns the files that paths and globs name, in their order; those of a glob by name.

    Raises:
      UsageError: there is no such file, it is a directory, or it is named twice.
    """
    files: dict[str, InputFile] = {}
    for pattern in patterns:
        for path, size in _expand(pattern):
            if path in files:
                raise UsageError(f"{path}: is given twice; each input file is read once")
            files[path] = InputFile(path=path, size=size)
    return list(files.values())


def _expand(pattern: str) -> Iterator[tuple[str, int]]:
    if is_remote(pattern):
        found = match_files(pattern)
    elif os.path.exists(pattern) or not any(letter in pattern for letter in _GLOB):
        found = {pattern: _local_size(pattern)}
    else:
        found = {path: _local_size(path) for path in glob.glob(pattern, recursive=True)}
    if not found:
        raise UsageError(f"{pattern}: no such file")
    yield from sorted(found.items())


def _local_size(path: str) -> int:
    if os.path.isdir(path):
        raise UsageError(f"{path}: is a directory; give files, or a glob such as {path}/*.txt")
    return os.stat(path).st_size
