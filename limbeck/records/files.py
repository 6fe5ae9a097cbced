"""Files that are either whole or not there: temporary name, fsync, rename, fsync of the directory.

A temporary name is the final name followed by `.tmp-PID-HEX`, in the same directory, so that the
rename is atomic and a leftover of a killed process is recognised for what it is.
"""

import contextlib
import errno
import os
import re
import resource
import secrets
from collections.abc import Iterator
from typing import BinaryIO

from limbeck.config.errors import LimbeckError, UsageError

__all__ = [
    "allow_open_files",
    "atomic_file",
    "atomic_write",
    "final_name",
    "fsync_directory",
    "is_temporary",
    "remove_leftovers",
    "temporary_name",
]

TEMPORARY = re.compile(r"(?P<final>.+)\.tmp-[0-9]+-[0-9a-f]{8}")
SPARE_FILES = 64  # sockets, logs and libraries that the process opens later
# What the operating system says when nothing more fits: the disk, the quota, the size limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary_name(name: str) -> str:
    """Returns a fresh temporary name for the file `name`: `NAME.tmp-PID-HEX`."""
    return f"{name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"


def is_temporary(name: str) -> bool:
    """Says whether a file name is one that `temporary_name` makes."""
    return TEMPORARY.fullmatch(name) is not None


def final_name(name: str) -> str:
    """Returns the name that a temporary file would have been renamed to (or `name` itself)."""
    match = TEMPORARY.fullmatch(name)
    return match["final"] if match else name


def fsync_directory(directory: str | os.PathLike[str]) -> None:
    """Makes renames in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing that gets its name `path` only when the block ends well.

    Whatever goes wrong, `path` is what it was before, and the temporary file is removed.

    Raises:
      LimbeckError: the disk, the quota or the file size limit is exhausted.
      OSError: any other refusal of the operating system, with `path` as its file name.
    """
    path = os.fspath(path)
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, temporary_name(name))
    try:
        # O_EXCL: a file of that name is never ours; 0o666 lets the umask decide, as open() does.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise _clear(error, path) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_directory(directory or ".")
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise _clear(error, path) from error
        raise


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` as the whole content of `path`, or leaves `path` as it was; see atomic_file."""
    with atomic_file(path) as file:
        file.write(data)


def remove_leftovers(directory: str | os.PathLike[str], names: set[str]) -> list[str]:
    """Removes temporary files of killed processes that were to become one of `names`.

    Call it only where no other process writes the same names.

    Returns:
      The names removed, sorted.
    """
    found = sorted(n for n in os.listdir(directory) if is_temporary(n) and final_name(n) in names)
    for name in found:
        with contextlib.suppress(FileNotFoundError):  # its writer may have finished just now
            os.unlink(os.path.join(directory, name))
    return found


def allow_open_files(num_files: int, what: str) -> None:
    """Raises this process's limit of open files by enough for `num_files` more, if it has to.

    Raises:
      UsageError: the system's hard limit is below; `what` says who needs them.
    """
    used = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = used + num_files + SPARE_FILES
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{what}: needs {num_files} open files and the limit is {hard}; "
            "raise it (ulimit -Hn) or write fewer shards"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _clear(error: OSError, path: str) -> Exception:
    """Returns an error that names `path` and, where the disk is full, the way out."""
    if error.errno in FULL:
        return LimbeckError(
            f"{path}: could not be written: {error.strerror}; no half file was left and finished "
            "files are kept, so free some space (or raise the limit) and run the same command again"
        )
    if isinstance(error, FileNotFoundError) and error.filename2 is not None:
        return LimbeckError(
            f"{path}: its temporary file vanished before the rename; is another process writing "
            "to the same directory? Run one at a time"
        )
    return OSError(error.errno, error.strerror or str(error), path)
