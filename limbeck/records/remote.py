"""Datasets on remote storage: rows by number, each stretch of bytes fetched once a process.

A remote dataset gets a directory on local disk: what is small (manifest, JSON, indexes, what lies
beside the shards) is copied when it is opened, and data files begin as holes of their full size.
Before rows are read, the chunks that they lie in are fetched by ranged requests, neighbouring ones
as one, several at a time. From there on everything is as with a local dataset: every check, every
message. The directory goes when the dataset is closed, and grows up to the size of the dataset.

In the full order nearly every row of the first epoch is a request of its own; the two-level order
(`limbeck.order.two_level`) fetches block by block. Only S3 and what speaks its protocol is here
(package boto3; credentials, region and `AWS_ENDPOINT_URL` as boto3 takes them).
"""

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.shard_reader import ShardReader

__all__ = ["CHUNK_BYTES", "S3Folder", "is_remote", "open_remote"]

Int64 = npt.NDArray[np.int64]

CHUNK_BYTES = 1 << 18  # 256 KiB: a request's latency is about that of sending so much
MAX_REQUEST_BYTES = 1 << 24
REQUESTS_AT_ONCE = 8
DATA_SUFFIX = ".tfrecord"


def is_remote(path: str) -> bool:
    """Says whether a path is a URL, not of the local file system."""
    return "://" in path


class S3Folder:
    """The objects below one prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """Makes a client; no request yet.

        Raises:
          UsageError: another scheme than s3, or boto3 is not installed.
        """
        scheme, _, rest = url.partition("://")
        if scheme != "s3":
            raise UsageError(f"{url}: only s3:// and local paths can be read")
        try:
            import boto3  # type: ignore[import-untyped]
        except ImportError:
            raise UsageError(f"{url}: needs the package boto3; install limbeck[s3]") from None
        self.url = url.rstrip("/")
        bucket, _, prefix = rest.partition("/")
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._client = boto3.client("s3")

    def sizes(self) -> dict[str, int]:
        """Returns name -> bytes of every object directly below the prefix."""
        start = f"{self._prefix}/" if self._prefix else ""
        found: dict[str, int] = {}
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._bucket, Prefix=start, Delimiter="/"):
                for item in page.get("Contents", []):
                    found[item["Key"].removeprefix(start)] = int(item["Size"])
        except Exception as error:
            raise LimbeckError(f"{self.url}: {error}") from error
        found.pop("", None)
        return found

    def read(self, name: str, begin: int, end: int) -> bytes:
        """Returns bytes [begin, end) of an object.

        Raises:
          LimbeckError: it is not there, shorter, or cannot be reached (boto3 has tried again).
        """
        if begin == end:
            return b""
        key = f"{self._prefix}/{name}" if self._prefix else name
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={begin}-{end - 1}"
            )
            data: bytes = answer["Body"].read()
        except Exception as error:
            raise LimbeckError(f"{self.url}/{name}: bytes {begin} to {end}: {error}") from error
        if len(data) != end - begin:
            raise LimbeckError(
                f"{self.url}/{name}: bytes {begin} to {end}: {len(data)} came; was it replaced?"
            )
        return data


class _Chunks:
    """Which chunks of one data file are on local disk, and how the others get there."""

    def __init__(self, folder: S3Folder, name: str, path: str, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._name = name
        self._path = path
        self._pool = pool
        self._size = os.stat(path).st_size
        self._here = np.zeros(-(-self._size // CHUNK_BYTES), np.bool_)
        self._lock = threading.Lock()

    def ensure(self, begins: Int64, sizes: Int64) -> None:
        """Fetches what is missing of bytes [begin, begin + size) (n,)."""
        first, last = begins // CHUNK_BYTES, (begins + sizes - 1) // CHUNK_BYTES
        steps = np.zeros(len(self._here) + 1, np.int64)
        np.add.at(steps, first, 1)
        np.add.at(steps, last + 1, -1)
        with self._lock:  # another reader of the same chunk waits for it
            missing = np.flatnonzero((np.cumsum(steps[:-1]) > 0) & ~self._here)
            list(self._pool.map(self._fetch, _runs(missing)))
            self._here[missing] = True

    def _fetch(self, run: tuple[int, int]) -> None:
        begin, end = run[0] * CHUNK_BYTES, min(run[1] * CHUNK_BYTES, self._size)
        data = self._folder.read(self._name, begin, end)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while data:
                written = os.pwrite(descriptor, data, begin)
                data, begin = data[written:], begin + written
        finally:
            os.close(descriptor)


class RemoteShardReader(ShardReader):
    """Fetches the chunks of rows before they are read."""

    chunks: _Chunks

    def read_into(self, rows: Int64, out: npt.NDArray[np.uint8]) -> None:
        """Reads framed records of any layout, unchecked."""
        self.chunks.ensure(*self.extents(rows))
        super().read_into(rows, out)

    def read_record(self, row: int) -> dict[str, Any]:
        """Returns one checked record of any layout."""
        self.chunks.ensure(*self.extents(np.array([row])))
        return super().read_record(row)

    def read_span(self, first: int, last: int) -> bytes:
        """Returns the bytes of rows [first, last), unchecked."""
        self.chunks.ensure(*self.extents(np.arange(first, last)))
        return super().read_span(first, last)


class _RemoteDataset(Dataset):
    """A dataset whose directory is a copy in the making."""

    pool: ThreadPoolExecutor
    forget: Callable[[], Any]  # removes the copy; called at the latest when the process ends

    def close(self) -> None:
        """Closes all files and removes the copy."""
        super().close()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.forget()


def open_remote(url: str, *, kind: str | None = None, cache: str | None = None) -> Dataset:
    """Opens a finished dataset on remote storage; see `limbeck.records.dataset.open_dataset`.

    Args:
      url: `s3://bucket/prefix`.
      kind: 'documents', 'examples' or 'labels' where the caller needs one of them.
      cache: where the copy grows; None for the directory of temporary files.

    Raises:
      UsageError: nothing there, or another kind.
      LimbeckError: not a dataset, not finished, damaged, or out of reach.
    """
    folder = S3Folder(url)
    sizes = folder.sizes()
    if not sizes:
        raise UsageError(f"{url}: no such directory")
    copy = tempfile.mkdtemp(prefix="limbeck-remote-", dir=cache)
    pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="remote")
    try:
        small = [name for name in sizes if not name.endswith(DATA_SUFFIX)]
        list(pool.map(lambda name: _copy(folder, name, sizes[name], copy), small))
        for name in sizes.keys() - set(small):
            with open(os.path.join(copy, name), "xb") as file:
                file.truncate(sizes[name])
        dataset = open_dataset(copy, kind=kind)
    except BaseException as error:
        pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(copy, ignore_errors=True)
        if isinstance(error, LimbeckError):  # names the copy; the reader knows the URL
            raise type(error)(str(error).replace(copy, folder.url)) from error
        raise
    # The files are open and checked; what changes is what happens before they are read.
    for shard in dataset.shards:
        shard.__class__ = RemoteShardReader
        assert isinstance(shard, RemoteShardReader)
        shard.chunks = _Chunks(folder, shard.summary.name, shard.path, pool)
    dataset.__class__ = _RemoteDataset
    assert isinstance(dataset, _RemoteDataset)
    dataset.pool = pool
    dataset.forget = weakref.finalize(dataset, shutil.rmtree, copy, ignore_errors=True)
    return dataset


def _copy(folder: S3Folder, name: str, size: int, directory: str) -> None:
    with open(os.path.join(directory, name), "xb") as file:
        file.write(folder.read(name, 0, size))


def _runs(numbers: Int64) -> Iterable[tuple[int, int]]:
    """Yields [begin, end) of neighbouring chunks, of at most MAX_REQUEST_BYTES."""
    most = MAX_REQUEST_BYTES // CHUNK_BYTES
    begin = end = -1
    for number in numbers.tolist():
        if number != end or end - begin == most:
            if end > begin:
                yield begin, end
            begin = number
        end = number + 1
    if end > begin:
        yield begin, end
