"""Where a staged dataset comes from: a directory, NFS included, or a prefix of an S3 bucket."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.directory import JOB, read_finished
from limbeck.records.manifest import MANIFEST, Manifest, parse_manifest
from limbeck.records.remote import S3Folder, is_remote

__all__ = ["PieceSource", "StagedFile", "open_source", "staged_files"]

PIECE_BYTES = 1 << 22
REQUEST_BYTES = 1 << 24  # of S3: large enough that a request's latency does not count


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """One file of a dataset."""

    name: str
    """Inside the directory."""

    size: int
    """In bytes."""

    sha256: str = ""
    """Hex; empty where `content` is known."""

    content: bytes | None = None
    """Its bytes, where the manifest decides them; None for what has to be copied."""


def staged_files(manifest: Manifest) -> tuple[StagedFile, ...]:
    """Every file of a dataset, in the order in which they are written: the manifest last."""
    content = manifest.content
    made = {JOB: content.job.to_bytes()}
    made |= {shard.json_name: content.job.shard_bytes(shard) for shard in content.shards}
    copied = [
        StagedFile(name=name, size=described["bytes"], sha256=described["sha256"])
        for name, described in content.attachments.items()
    ]
    for shard in content.shards:
        copied += [
            StagedFile(name=shard.index_name, size=shard.index_bytes, sha256=shard.index_sha256),
            StagedFile(name=shard.name, size=shard.bytes, sha256=shard.sha256),
        ]
    return (*_known(made), *copied, *_known({MANIFEST: manifest.to_bytes()}))


class PieceSource(Protocol):
    """A dataset that can be copied."""

    path: str
    """As it was named."""

    def manifest(self) -> Manifest:
        """What it holds now.

        Raises:
          UsageError: there is nothing.
          LimbeckError: not a finished dataset, damaged, or out of reach.
        """

    def size(self, name: str) -> int | None:
        """Bytes of one of its files; None where there is none."""

    def pieces(self, file: StagedFile) -> Iterator[bytes]:
        """The bytes of a file, piece by piece.

        Raises:
          LimbeckError: it cannot be read; names it.
        """


def open_source(path: str) -> PieceSource:
    """The source that a path or URL names.

    Raises:
      UsageError: a scheme other than s3, or boto3 is missing.
    """
    return _S3Source(path) if is_remote(path) else _LocalSource(path)


class _LocalSource:
    """A directory."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/") or "/"

    def manifest(self) -> Manifest:
        return read_finished(self.path)

    def size(self, name: str) -> int | None:
        try:
            return os.stat(os.path.join(self.path, name)).st_size
        except FileNotFoundError:
            return None

    def pieces(self, file: StagedFile) -> Iterator[bytes]:
        path = os.path.join(self.path, file.name)
        try:
            with open(path, "rb") as source:
                while piece := source.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise LimbeckError(f"{path}: could not be read: {error.strerror}") from error


class _S3Source:
    """A prefix of a bucket; listed once."""

    def __init__(self, url: str) -> None:
        self._folder = S3Folder(url)
        self.path = self._folder.url
        self._sizes: dict[str, int] | None = None

    def manifest(self) -> Manifest:
        self._sizes = self._folder.sizes()
        if not self._sizes:
            raise UsageError(f"{self.path}: no such directory")
        size = self._sizes.get(MANIFEST)
        if size is None:
            raise LimbeckError(f"{self.path}: no {MANIFEST}: not a dataset, or not finished")
        data = self._folder.read(MANIFEST, 0, size)
        return parse_manifest(data, f"{self.path}/{MANIFEST}")

    def size(self, name: str) -> int | None:
        if self._sizes is None:
            self._sizes = self._folder.sizes()
        return self._sizes.get(name)

    def pieces(self, file: StagedFile) -> Iterator[bytes]:
        for begin in range(0, file.size, REQUEST_BYTES):
            yield self._folder.read(file.name, begin, min(begin + REQUEST_BYTES, file.size))


def _known(contents: dict[str, bytes]) -> Iterator[StagedFile]:
    for name, data in contents.items():
        yield StagedFile(name=name, size=len(data), content=data)
