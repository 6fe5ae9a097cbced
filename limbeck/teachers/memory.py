"""One error for every way in which a batch does not fit the memory of its device."""

import contextlib
from collections.abc import Callable, Iterator

from limbeck.teachers.protocol import TeacherBatch, TeacherOutOfMemory

__all__ = ["available_bytes", "out_of_memory", "refuse_without_memory"]

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def out_of_memory(batch: TeacherBatch, *, where: str, device: str) -> TeacherOutOfMemory:
    """The error, naming the shape of the batch."""
    rows, tokens = batch.ids.shape
    return TeacherOutOfMemory(
        f"{where}: a batch of {rows} rows of {tokens} tokens ({rows * tokens} slots) does not fit "
        f"the memory of {device}; set a smaller --token-budget"
    )


@contextlib.contextmanager
def refuse_without_memory(
    batch: TeacherBatch, *, where: str, device: str, is_one: Callable[[Exception], bool]
) -> Iterator[None]:
    """Turns a framework's error for want of memory into ours.

    Args:
      batch: that is computed inside.
      where: the teacher.
      device: what it runs on.
      is_one: says whether an error of the framework is such a one.

    Raises:
      TeacherOutOfMemory: naming the shape of the batch.
    """
    try:
        yield
    except TeacherOutOfMemory:
        raise
    except Exception as error:
        if not isinstance(error, MemoryError) and not is_one(error):
            raise
        raise out_of_memory(batch, where=where, device=device) from error


def available_bytes() -> int | None:
    """Memory that this process may still take of the machine or its container; None if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo") as lines:
        fields = dict(line.split(":", 1) for line in lines)
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError), open(path) as text:
            found.append(int(text.read()))
    return min(found, default=None)
