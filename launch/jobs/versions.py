"""What a host of a job must have in common with the others: `python -m launch versions`.

TensorFlow is not imported: what is installed says its version, in milliseconds.
"""

import importlib.metadata
import json
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from launch.environment import mpirun_path
from launch.jobs.links import Ports
from launch.mpi import open_mpi_version
from limbeck import __version__
from limbeck.config.command import parse
from limbeck.config.errors import UsageError

__all__ = ["found_here", "print_versions", "taken_ports"]

# Name in messages -> the packages that hold it, the first one that is there counts.
_PACKAGES = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "keras": ("keras",),
    "horovod": ("horovod",),
    "numpy": ("numpy",),
}


@dataclass(frozen=True, kw_only=True)
class VersionsOptions:
    """Options of `versions`."""

    ports: Annotated[str, tyro.conf.arg(metavar="FIRST-LAST")] = ""
    """Also lists which of these TCP ports are taken here."""


def print_versions(argv: Sequence[str]) -> None:
    """Prints the versions that must be the same on all hosts of a job, as one line of JSON."""
    options = parse(
        VersionsOptions,
        argv,
        prog="python -m launch versions",
        description=print_versions.__doc__ or "",
    )
    found: dict[str, object] = {"versions": found_here()}
    if options.ports:
        try:
            found["taken_ports"] = taken_ports(Ports.parse(options.ports))
        except ValueError as error:
            raise UsageError(f"--ports: {error}") from error
    print(json.dumps(found))


def found_here() -> dict[str, str]:
    """Returns the versions of this environment by name; `missing` for what is not there."""
    try:
        open_mpi = open_mpi_version(mpirun_path())
    except FileNotFoundError:
        open_mpi = None
    return {
        "python": platform.python_version(),
        "limbeck": __version__,
        **{name: _version(names) for name, names in _PACKAGES.items()},
        "Open MPI": open_mpi or "missing",
    }


def taken_ports(ports: Ports) -> list[int]:
    """Returns the ports of a range at which nothing more can listen on this host."""
    return [port for port in range(ports.first, ports.last + 1) if not _is_free(port)]


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # Connections that have ended keep a port for a minute, but not from listening.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True


def _version(names: Sequence[str]) -> str:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "missing"
