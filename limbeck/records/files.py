"""Files that are either whole or not there: temporary name, fsync, rename, fsync of the directory.

A temporary name is the final name followed by `.tmp-PID-HEX`, in the same directory, so that the
rename is atomic and a leftover of a killed process is recognised for what it is.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
import resource
import secrets
import shutil
from collections.abc import Iterator
from typing import BinaryIO, Literal

from limbeck.config.errors import LimbeckError, UsageError

__all__ = [
    "bytes_in",
    "allow_open_files",
    "atomic_file",
    "atomic_write",
    "create_once",
    "final_name",
    "fsync_directory",
    "is_temporary",
    "locked_file",
    "remove_leftovers",
    "scratch_file",
    "temporary_name",
]

LOG = logging.getLogger(__name__)
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


def create_once(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a whole file unless there is one: of several processes at once, the first wins.

    Unlike `atomic_write` it never puts another file in the place of one that may be locked.
    """
    path = os.fspath(path)
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, temporary_name(name))
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _link(temporary, path)
    except OSError as error:
        raise (_clear(error, path) if error.filename in (None, temporary) else error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    fsync_directory(directory or ".")


def _link(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:
        # No hard links here; or the winner has cleared our file away as a leftover.
        if not os.path.exists(path):
            os.replace(temporary, path)


@contextlib.contextmanager
def scratch_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens an empty file for reading and writing that has no name and vanishes when closed.

    It lies in the directory of `path`. Should the process be killed in the instant between making
    the file and taking its name away, what is left is a temporary file of `path`.

    Raises:
      LimbeckError: the disk, the quota or the file size limit is exhausted.
      OSError: any other refusal of the operating system, with `path` as its file name.
    """
    path = os.fspath(path)
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, temporary_name(name))
    try:
        with open(temporary, "x+b") as file:
            os.unlink(temporary)
            yield file
    except OSError as error:
        if error.filename in (None, temporary):
            raise _clear(error, path) from error
        raise


@contextlib.contextmanager
def locked_file(
    path: str | os.PathLike[str],
    *,
    what: str,
    mode: Literal["exclusive", "shared"] = "exclusive",
) -> Iterator[None]:
    """Holds a lock on a file that exists, as long as the block runs.

    The lock is advisory and of `flock`: the system lets go of it however the process ends. Where
    the file system knows no locks there is none, with a warning.

    Args:
      path: the file.
      what: the thing that is in use, for the message.
      mode: exclusive: nobody else may hold it. shared: nobody else may hold it exclusively.

    Raises:
      UsageError: another process holds it.
      FileNotFoundError: there is no such file (any more).
    """
    path = os.fspath(path)
    kind = fcntl.LOCK_SH if mode == "shared" else fcntl.LOCK_EX
    while True:
        with open(path, "r+b") as file:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"{what} is in use by {_lock_holder(file.fileno())}; wait for it, or choose "
                    "another directory"
                ) from None
            except OSError as error:
                LOG.warning("%s: cannot be locked (%s); run one process at a time", what, error)
            # Someone may have put another file in its place before the lock was ours.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                yield
                return


def _lock_holder(descriptor: int) -> str:
    """Returns `process 123 (its command)` as far as Linux tells, else `another process`."""
    inode = os.fstat(descriptor).st_ino
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/locks") as locks:
        for line in locks:  # 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
            words = line.split()
            if words[1] == "FLOCK" and int(words[5].rpartition(":")[2]) == inode:
                with open(f"/proc/{int(words[4])}/cmdline", "rb") as file:
                    command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {words[4]} ({command[:200]})"
    return "another process"


def remove_leftovers(directory: str | os.PathLike[str], names: set[str]) -> list[str]:
    """Removes temporary files of killed processes that were to become one of `names`.

    A directory of such a name is scratch space; it goes with all that is in it.

    Call it only where no other process writes the same names.

    Returns:
      The names removed, sorted.
    """
    found = sorted(n for n in os.listdir(directory) if is_temporary(n) and final_name(n) in names)
    for name in found:
        path = os.path.join(directory, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
            continue
        with contextlib.suppress(FileNotFoundError):  # its writer may have finished just now
            os.unlink(path)
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


def bytes_in(directory: str) -> int:
    """Bytes of the files of a directory, in which others may write; 0 where there is none."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # renamed or removed since it was listed
                total += entry.stat().st_size if entry.is_file() else 0
    return total
