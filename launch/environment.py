"""Where things lie, and what a process needs around it to run under MPI.

Standard library only: `make setup` runs this before anything is installed.
"""

import os
import sys
from pathlib import Path

from launch.mpi import Mpi, installed_mpi


def project_root() -> Path:
    """Returns the checkout: the directory that holds pyproject.toml and requirements/."""
    return Path(__file__).resolve().parents[1]


def cache_dir() -> Path:
    """Returns the user's cache for what is costly to fetch or build: wheels and data."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "limbeck"


def environment_prefix() -> Path:
    """Returns the virtual environment that this interpreter belongs to."""
    return Path(sys.prefix)


def find_mpi() -> Mpi:
    """Returns the MPI that Horovod was built with in this environment.

    Raises:
      FileNotFoundError: this environment was not made by `make setup`.
    """
    return installed_mpi(environment_prefix())


def mpirun_path() -> Path:
    """Returns the `mpirun` that belongs to the MPI that Horovod was built with."""
    return find_mpi().mpirun


def mpi_environment() -> dict[str, str]:
    """Returns a copy of this process's environment in which MPI runs work.

    `PATH` starts with the environment's programs. The package index's Open MPI was configured for
    a directory that does not exist here, and finds its parts by `OPAL_PREFIX`.
    """
    environment = dict(os.environ)
    programs = str(environment_prefix() / "bin")
    others = [part for part in environment.get("PATH", os.defpath).split(os.pathsep) if part]
    if programs not in others[:1]:
        others.insert(0, programs)
    environment["PATH"] = os.pathsep.join(others)
    # TensorFlow's start-up notes, once a rank, would bury what the ranks print.
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    mpi = find_mpi()
    if mpi.from_wheel:
        environment["OPAL_PREFIX"] = str(mpi.prefix)
    return environment
