"""Which process of a run this is, and what each process sets up before TensorFlow computes."""

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from limbeck.config.errors import LimbeckError
from limbeck.ranks import collectives

__all__ = ["World", "core_threads", "init", "is_elastic", "launched_under_mpi", "rejoin"]

# Set for every process by Open MPI's mpirun, by horovodrun, and by `srun --mpi=pmix`.
LAUNCHER_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "HOROVOD_RANK", "PMIX_RANK")

# TensorFlow's own way to fix its threads; a value given there is respected.
THREADS_VARIABLE = "TF_NUM_INTRAOP_THREADS"


@dataclass(frozen=True, kw_only=True)
class World:
    """The place of this process among those of its run."""

    rank: int = 0
    """This process, from 0."""

    size: int = 1
    """W, how many processes the run has."""

    local_rank: int = 0
    """This process among those of its host, from 0; chooses the GPU."""

    local_size: int = 1
    """How many processes of the run this host has."""

    def __post_init__(self) -> None:
        """Refuses a place outside the run."""
        if not (0 <= self.rank < self.size and 0 <= self.local_rank < self.local_size):
            raise ValueError(
                f"rank {self.rank} of {self.size}, on its host {self.local_rank} of "
                f"{self.local_size}: ranks count from 0"
            )

    @property
    def is_leader(self) -> bool:
        """Whether this is the rank that prints and writes files."""
        return self.rank == 0


def launched_under_mpi(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a launcher started this process as one of several ranks."""
    values = os.environ if environment is None else environment
    return any(name in values for name in LAUNCHER_VARIABLES)


def is_elastic(environment: Mapping[str, str] | None = None) -> bool:
    """Whether `horovodrun` started this process with host discovery."""
    values = os.environ if environment is None else environment
    return values.get("HOROVOD_ELASTIC", "0") not in ("", "0") and "HOROVOD_RANK" in values


def core_threads(local_size: int) -> int:
    """Threads for one of `local_size` processes that share this host's usable cores."""
    return max(1, len(os.sched_getaffinity(0)) // local_size)


def init() -> World:
    """Joins the run: Horovod under a launcher, threads and GPU of this process, its excepthook.

    Call once, before TensorFlow computes anything. Threads inside and between operations are
    `core_threads`, unless TF_NUM_INTRAOP_THREADS or `tf.config.threading` gave another number.

    Raises:
      LimbeckError: under a launcher, but Horovod cannot be imported.
    """
    world = _join() if launched_under_mpi() else World()
    _set_threads(world)
    _set_gpu(world)
    if world.size > 1 or is_elastic():  # to a process that is alone now others may come
        _install_excepthook(world)
    return world


def rejoin() -> World:
    """Leaves the other processes of an elastic run and meets those that now take part.

    Waits for them. A process that is not among them any more ends here, by abort, with code 134:
    Horovod has no other way; so does one that waits for a process that never comes, after
    HOROVOD_GLOO_TIMEOUT_SECONDS.
    """
    import horovod.tensorflow as hvd

    hvd.shutdown()
    world = _join()
    _install_excepthook(world)
    return world


def _join() -> World:
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        raise LimbeckError(
            f"started under MPI, but Horovod cannot be imported ({error}); build it with "
            "`make setup`, or start one process without mpirun"
        ) from error
    hvd.init()
    collectives.connect(hvd)
    return World(
        rank=hvd.rank(), size=hvd.size(), local_rank=hvd.local_rank(), local_size=hvd.local_size()
    )


def _set_threads(world: World) -> None:
    import tensorflow as tf

    given = os.environ.get(THREADS_VARIABLE, "")
    threads = int(given) if given.isdecimal() and int(given) else core_threads(world.local_size)
    threading = tf.config.threading
    # Fixed numbers: how a matrix product is cut over threads decides its last bits.
    if not threading.get_intra_op_parallelism_threads():
        threading.set_intra_op_parallelism_threads(threads)
    if not threading.get_inter_op_parallelism_threads():
        threading.set_inter_op_parallelism_threads(threads)


def _set_gpu(world: World) -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    # Ranks that a launcher gave one visible GPU each all find theirs at 0.
    own = gpus[world.local_rank % len(gpus)]
    tf.config.set_visible_devices(own, "GPU")
    tf.config.experimental.set_memory_growth(own, True)


def _install_excepthook(world: World) -> None:
    """Makes an exception of this rank end the run at once.

    A rank that leaves in an orderly way first waits for the others, which may wait for it in a
    collective. `os._exit` skips that; mpirun sees a rank end without MPI_Finalize and stops all.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        prefix = f"[r{world.rank}] "
        sys.stderr.write("".join(prefix + line + "\n" for line in text.splitlines()))
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(1)

    sys.excepthook = hook
