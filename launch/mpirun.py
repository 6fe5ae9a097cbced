"""The exact `mpirun` command line of a run, as a list. Open MPI 4."""

import os
from collections.abc import Sequence

from launch.environment import mpirun_path

# With Open MPI's own values a vanished host is noticed after more than ten minutes; with these
# it took 12 s.
_KEEP_ALIVE = {
    "oob_tcp_keepalive_time": "5",
    "oob_tcp_keepalive_intvl": "2",
    "oob_tcp_keepalive_probes": "3",
}

# Horovod's progress thread polls: where it shares a core with TensorFlow's threads it has to yield.
_YIELD = {"mpi_yield_when_idle": "1"}

# What every rank on another host needs from here.
_EXPORTED = ("PATH", "LD_LIBRARY_PATH", "OPAL_PREFIX", "PYTHONPATH")
_EXPORTED_PREFIXES = ("HOROVOD_", "LIMBECK_", "NCCL_", "OMP_", "TF_")


def mpirun_command(
    num_ranks: int,
    command: list[str],
    *,
    hosts: Sequence[str] | None = None,
    oversubscribe: bool = True,
) -> list[str]:
    """Returns the command line that runs `command` as `num_ranks` ranks.

    Args:
      num_ranks: how many processes to start, at least 1.
      command: the program and its arguments.
      hosts: `name:slots` for each host; None means this machine only.
      oversubscribe: whether there may be more ranks than cores.

    Raises:
      ValueError: there is nothing to run, or no rank to run it.
    """
    if num_ranks < 1:
        raise ValueError(f"num_ranks is {num_ranks}; it must be at least 1")
    if not command:
        raise ValueError("command is empty; give the program that each rank runs")
    line = [str(mpirun_path()), "-np", str(num_ranks)]
    if os.geteuid() == 0:
        line.append("--allow-run-as-root")  # usual in containers; Open MPI refuses root otherwise
    if oversubscribe:
        line.append("--oversubscribe")
    # Bound to one core each, ranks were up to three times slower on CPU.
    line += ["--bind-to", "none", "--map-by", "slot"]
    for name, value in {**_YIELD, **_KEEP_ALIVE}.items():
        line += ["-mca", name, value]
    if hosts is not None:
        line += ["--host", ",".join(hosts), *_exports()]
    return line + list(command)


def _exports() -> list[str]:
    """Returns the options that hand this process's settings to ranks on other hosts."""
    names = [
        name
        for name in sorted(os.environ)
        if name in _EXPORTED or name.startswith(_EXPORTED_PREFIXES)
    ]
    return [part for name in names for part in ("-x", name)]
