"""Which of its host's GPUs a worker computes on: of several workers there, each takes its own."""

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

__all__ = ["own_gpu", "take_own_gpu"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICE = re.compile(r"nvidia[0-9]+")
# The number of a process among those of its host, as each launcher tells it.
LOCAL_RANKS = (
    "OMPI_COMM_WORLD_LOCAL_RANK",  # Open MPI's mpirun
    "MV2_COMM_WORLD_LOCAL_RANK",  # MVAPICH
    "MPI_LOCALRANKID",  # MPICH, Intel MPI
    "SLURM_LOCALID",  # srun
)


def take_own_gpu(environment: MutableMapping[str, str] | None = None) -> None:
    """Hides the other GPUs from this process; call before a framework looks for them.

    Args:
      environment: to read and to change; None for this process's.
    """
    variables = os.environ if environment is None else environment
    chosen = own_gpu(variables, num_gpus=_num_gpus())
    if chosen is not None:
        variables[VISIBLE] = chosen


def own_gpu(environment: Mapping[str, str], *, num_gpus: int) -> str | None:
    """Returns the value of CUDA_VISIBLE_DEVICES that leaves this worker its GPU.

    Args:
      environment: of the worker.
      num_gpus: of the host.

    Returns:
      None where there is nothing to choose: no launcher has numbered the process, or it sees no
      more than one GPU. With more workers than GPUs they share.
    """
    number = next((environment[name] for name in LOCAL_RANKS if name in environment), "")
    if not number.isdecimal():
        return None
    given = environment.get(VISIBLE)
    names = [str(n) for n in range(num_gpus)] if given is None else given.split(",")
    return names[int(number) % len(names)] if len(names) > 1 else None


def _num_gpus() -> int:
    return sum(DEVICE.fullmatch(path.name) is not None for path in Path("/dev").glob("nvidia*"))
