"""Checkpoints of a running job, written by a thread of the leader while the next steps are made.

What a step pays for is a look at the variables and a checksum of the weights, which all ranks
compare. The values that were looked at never change: TensorFlow gives a variable new memory when it
is assigned to while somebody holds its value. So the copy is made by the next update, which writes
all variables anyway, and hashing, writing and waiting for the disk are left to the thread.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import google_crc32c
import numpy as np

from limbeck import ranks
from limbeck.config.errors import LimbeckError
from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Checkpoint, Progressed
from train.job import Job

__all__ = ["Saver", "host_array"]


class Saver:
    """Saves a run; every rank has one, the leader's writes. Use as a context manager.

    One file is under way at a time: a save that is due earlier waits, rather than hold a third copy
    of everything.

    Args:
      job: the run.
      before: called in the thread before a file is written, such as to put on disk what it stands
        for.
    """

    def __init__(self, job: Job, *, before: Callable[[], None]) -> None:
        self._job = job
        self._before = before
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._under_way: Future[None] | None = None
        self.stalled_s = 0.0
        """Seconds that steps have waited for saves so far."""

    def save(self, progressed: Progressed) -> None:
        """Takes the state as it is now and leaves it to the thread; a collective.

        Raises:
          LimbeckError: the last save failed; or, on the leader, the ranks hold different weights.
            They never may: each applies the same sums to the same values.
        """
        started = time.perf_counter()
        self.wait()
        _check_equal(self._job, step=progressed.step)
        if self._job.world.is_leader:
            arrays = {name: host_array(v) for name, v in self._job.variables.items()}
            state = Checkpoint(progressed=progressed, tensors=arrays)
            self._under_way = self._pool.submit(self._write, state)
        self.stalled_s += time.perf_counter() - started

    def poll(self) -> None:
        """Raises what a save has failed with, if it has; does not wait."""
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def wait(self) -> None:
        """Returns when nothing is under way any more; raises what a save has failed with."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def __enter__(self) -> "Saver":
        """Returns the saver itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Lets the save that is under way end, also where the run fails: it is of a sound step."""
        self._pool.shutdown(wait=True)
        if kind is None:
            self.wait()

    def _write(self, state: Checkpoint) -> None:
        self._before()
        training = self._job.inputs.recipe.training
        checkpoint.save(
            self._job.run.checkpoints,
            state,
            keep=training.keep_checkpoints,
            keep_best=training.keep_best,
        )


def host_array(variable: Any) -> np.ndarray:
    """The value of a Keras variable as it is now, in the host's memory, read-only.

    On a CPU nothing is copied: it is the memory of the value itself, see above. From a GPU it is
    copied here and now.
    """
    value = variable.value.read_value()
    if "CPU" not in value.device or not value.shape.rank:
        return np.asarray(value.numpy())
    return np.asarray(memoryview(value))


def _check_equal(job: Job, *, step: int) -> None:
    """Compares the weights of all ranks by a CRC32C a variable."""
    named = job.step.student.named_variables
    if job.world.size == 1:
        return
    answers = ranks.gather_bytes(weights_checksums(named).tobytes())
    if not job.world.is_leader:
        return
    for rank, answer in enumerate(answers):
        different = np.flatnonzero(np.frombuffer(answer, np.uint32) != _uint32(answers[0]))
        if len(different):
            raise LimbeckError(
                f"step {step}: the weights of rank {rank} are not those of rank 0 "
                f"({list(named)[different[0]]!r} and {len(different) - 1} more), so the ranks do "
                "not train one model; nothing was saved"
            )


def weights_checksums(named: Mapping[str, Any]) -> np.ndarray:
    """(number of variables,) uint32 CRC32C of each value, in their order."""
    values = (host_array(v).reshape(-1).view(np.uint8) for v in named.values())
    return np.array([google_crc32c.value(_read_only(v)) for v in values], np.uint32)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that nobody can write through, as the checksum wants it."""
    view = array.view()
    view.flags.writeable = False
    return view


def _uint32(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint32)
