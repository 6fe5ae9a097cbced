"""Files where they are: on this machine, or wherever Beam's file systems reach (s3://, gs://, ...).

An object store shows an object when it is whole, so writing one under its final name is atomic; on
a local path the same call writes a temporary file and renames it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.files import atomic_write

__all__ = [
    "delete_files",
    "is_remote",
    "join",
    "list_files",
    "match_files",
    "open_file",
    "read_bytes",
    "upload_file",
    "use_options",
    "write_bytes",
]

_COPY_BYTES = 1 << 24


def is_remote(path: str) -> bool:
    """Says whether a path names a file system, as `s3://bucket/name` does."""
    return "://" in path


def join(directory: str, name: str) -> str:
    """Returns the path of a file in a directory, remote or not."""
    if is_remote(directory):
        return f"{directory.rstrip('/')}/{name}"
    return os.path.join(directory, name)


def use_options(flags: Sequence[str]) -> None:
    """Tells the file systems Beam's own options, such as `--s3_endpoint_url=...`."""
    from apache_beam.options.pipeline_options import PipelineOptions

    _file_systems("").set_options(PipelineOptions(flags=list(flags)))


def match_files(pattern: str) -> dict[str, int]:
    """Returns path -> bytes of the remote files that a path or glob names."""
    with _clear_errors(pattern):
        [found] = _file_systems(pattern).match([pattern])
    return {entry.path: entry.size_in_bytes for entry in found.metadata_list}


def list_files(directory: str) -> dict[str, int]:
    """Returns name -> bytes of the files right below a remote directory; none if there is none."""
    prefix = directory.rstrip("/") + "/"
    names = {path[len(prefix) :]: size for path, size in match_files(prefix + "*").items()}
    return {name: size for name, size in names.items() if name and "/" not in name}


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading its bytes as they lie there; it can be sought in."""
    if not is_remote(path):
        return open(path, "rb")
    with _clear_errors(path):
        return cast(BinaryIO, _open_remote(path, "open"))


def read_bytes(path: str) -> bytes:
    """Returns the content of a file."""
    with open_file(path) as file, _clear_errors(path):
        return file.read()


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file, or leaves it as it was."""
    if not is_remote(path):
        atomic_write(path, data)
        return
    with _clear_errors(path), _open_remote(path, "create") as file:
        file.write(data)


def upload_file(source: str, path: str) -> None:
    """Copies a local file to a remote path."""
    with (
        _clear_errors(path),
        open(source, "rb") as local,
        _open_remote(path, "create") as file,
    ):
        shutil.copyfileobj(local, file, _COPY_BYTES)


def delete_files(paths: Sequence[str]) -> None:
    """Deletes remote files that are there."""
    for path in paths:
        with _clear_errors(path):
            if _file_systems(path).exists(path):
                _file_systems(path).delete([path])


def _open_remote(path: str, how: str) -> Any:
    from apache_beam.io.filesystem import CompressionTypes

    # Not packed or unpacked, whatever the name ends in.
    return getattr(_file_systems(path), how)(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _file_systems(path: str) -> Any:
    # Beam's file systems import their cloud libraries: only where a path needs them.
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    if FileSystems._pipeline_options is None:  # before the first pipeline; S3 insists on some
        FileSystems.set_options(PipelineOptions(flags=[]))
    if path:
        try:
            FileSystems.get_filesystem(path)
        except ValueError as error:
            raise UsageError(
                f"{path}: no file system for it ({error}); is Beam's extra for it installed?"
            ) from None
    return FileSystems


@contextlib.contextmanager
def _clear_errors(path: str) -> Iterator[None]:
    """Turns whatever a cloud library raises into one line that names the path."""
    try:
        yield
    except LimbeckError:
        raise
    except Exception as error:  # each file system raises errors of its own libraries
        raise LimbeckError(
            f"{path}: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
