"""Which of how many workers this process is: said on the command line, or found in what started it.

The number only decides where among the shards a worker begins, and whether it is alone; claims do
the rest (`extract.workers`). So it does no harm when workers share a number, or are fewer than
they say.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from limbeck.config.errors import UsageError

__all__ = ["AUTO", "Worker", "parse_worker"]

AUTO = "auto"
NUMBERED = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
# Rank and size, as each launcher tells its processes.
PROCESSES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI's mpirun
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, Cray, srun --mpi=pmi2
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),  # srun --mpi=pmix
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; sbatch's own script has no step
)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of several workers."""

    index: int = 0
    """From 0."""
    count: int = 1
    """How many there are."""

    def __post_init__(self) -> None:
        """Refuses an index that is not below the count."""
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"worker {self.index} of {self.count}: workers are numbered from 0 to "
                f"{self.count - 1}"
            )

    @property
    def is_alone(self) -> bool:
        """Whether it is the only one."""
        return self.count == 1

    def __str__(self) -> str:
        """Returns `0/4`."""
        return f"{self.index}/{self.count}"


def parse_worker(text: str, environment: Mapping[str, str] | None = None) -> Worker:
    """Reads `--worker`.

    Args:
      text: `i/n` with i from 0 to n - 1; or `auto`: the number that mpirun, srun, a Slurm array
        or an indexed Kubernetes job gave this process, else the only worker. Processes inside the
        tasks of an array count on through them.
      environment: variables to look at; None for this process's.

    Raises:
      UsageError: it is neither, or the environment has half of what is needed.
    """
    if text == AUTO:
        return _found(os.environ if environment is None else environment)
    match = NUMBERED.fullmatch(text)
    try:
        if match is None:
            raise ValueError("expected i/n, such as 0/4 to 3/4, or auto")
        return Worker(index=int(match[1]), count=int(match[2]))
    except ValueError as error:
        raise UsageError(f"--worker {text}: {error}") from None


def _found(environment: Mapping[str, str]) -> Worker:
    outer, inner = _task(environment), _process(environment)
    return Worker(index=outer.index * inner.count + inner.index, count=outer.count * inner.count)


def _task(environment: Mapping[str, str]) -> Worker:
    """The task of an array, or the pod of an indexed job, that the process belongs to."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        number, count, least, step = (
            _integer(environment, f"SLURM_ARRAY_TASK_{name}", default)
            for name, default in (("ID", None), ("COUNT", "1"), ("MIN", "0"), ("STEP", "1"))
        )
        # An array may be a list, such as 1,5,7: its numbers are folded into the count.
        return Worker(index=(number - least) // max(1, step) % max(1, count), count=max(1, count))
    if "JOB_COMPLETION_INDEX" in environment:
        if "JOB_COMPLETIONS" not in environment:
            raise UsageError(
                "--worker auto: Kubernetes gives this pod's JOB_COMPLETION_INDEX and not how many "
                "there are; set the variable JOB_COMPLETIONS to the job's completions, or give "
                "--worker $JOB_COMPLETION_INDEX/N"
            )
        return _checked(environment, "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS")
    return Worker()


def _process(environment: Mapping[str, str]) -> Worker:
    for rank, size in PROCESSES:
        if rank in environment and size in environment:
            return _checked(environment, rank, size)
    return Worker()


def _checked(environment: Mapping[str, str], index: str, count: str) -> Worker:
    try:
        return Worker(index=_integer(environment, index), count=_integer(environment, count))
    except ValueError as error:
        raise UsageError(f"--worker auto: {index} and {count}: {error}") from None


def _integer(environment: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = environment.get(name, default) or ""
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"--worker auto: the variable {name} is {text!r}, not a number; give i/n")
    return int(text)
