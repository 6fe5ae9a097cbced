"""Builds the Horovod wheel for this environment once, and keeps it in the user's cache.

Standard library only: `make setup` runs this before anything is installed.
"""

import dataclasses
import os
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

from launch.horovod.patch import RPATH_VARIABLE, apply_edits, patch_digest
from launch.mpi import Mpi

VERSION = "0.28.1"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"

# From site-packages/horovod/tensorflow/ up to the environment's lib/, where pip puts Open MPI.
_RPATH_TO_ENVIRONMENT = "$ORIGIN/../../../.."

_OPTIONS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}


class BuildError(Exception):
    """Horovod could not be built; the message says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """Everything that a built wheel depends on."""

    tensorflow: str
    """TensorFlow's exact version: Horovod compiles against its C++ headers."""
    mpi: Mpi
    """The MPI to link with."""
    gpu_operations: str = ""
    """Horovod's HOROVOD_GPU_OPERATIONS: empty, NCCL or MPI."""

    @property
    def key(self) -> str:
        """Directory name in the wheel cache; two builds that differ never share one."""
        parts = [f"horovod{VERSION}", f"tensorflow{self.tensorflow}"]
        parts += [str(sysconfig.get_config_var("SOABI")), self.mpi.key]
        parts += [self.gpu_operations.lower() or "cpu", f"patch{patch_digest()[:12]}"]
        return "-".join(parts)


def cached_wheel(build: Build, cache: Path) -> Path | None:
    """Returns the wheel built earlier, if it is there and whole."""
    for wheel in sorted((cache / build.key).glob("horovod-*.whl")):
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.testzip() is None:
                    return wheel
        except (OSError, zipfile.BadZipFile):
            continue
    return None


def find_compiler() -> str:
    """Returns the C++ compiler's path.

    Raises:
      BuildError: there is none.
    """
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    for name in candidates:
        path = shutil.which(name)
        if path:
            return path
    raise BuildError(
        "make setup needs a C++ compiler (g++) to build Horovod; install one and run again"
    )


def build_wheel(build: Build, *, python: Path, cache: Path) -> Path:
    """Downloads, patches and compiles Horovod, and puts the wheel into the cache.

    Args:
      build: what to build for.
      python: an interpreter whose environment holds base.lock and build.lock.
      cache: directory of built wheels; each build has a directory of its own there.

    Raises:
      BuildError: no compiler, no source, another Horovod than expected, or it did not compile.
    """
    find_compiler()
    cache.mkdir(parents=True, exist_ok=True)
    # Inside the cache, so that the finished directory can be renamed into place.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as scratch:
        source = _fetch_source(python, Path(scratch))
        apply_edits(source)
        output = Path(scratch) / "output"
        _compile(build, python=python, source=source, output=output)
        final = cache / build.key
        shutil.rmtree(final, ignore_errors=True)  # only a damaged wheel can be there
        output.rename(final)
    wheel = cached_wheel(build, cache)
    if wheel is None:
        raise BuildError(f"{final}: the build ended without a whole wheel; see build.log there")
    return wheel


def _fetch_source(python: Path, scratch: Path) -> Path:
    requirement = scratch / "horovod.txt"
    requirement.write_text(f"horovod=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
    command = [str(python), "-m", "pip", "download", "-qq", "--require-hashes", "--no-deps"]
    command += ["--no-binary", "horovod", "--no-build-isolation"]
    command += ["--dest", str(scratch), "-r", str(requirement)]
    if subprocess.run(command).returncode:
        raise BuildError(f"could not download horovod {VERSION}'s source; see pip's message above")
    with tarfile.open(scratch / f"horovod-{VERSION}.tar.gz") as archive:
        # Python 3.11 before 3.11.4 has no filters; the archive's hash was checked either way.
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(scratch)
    return scratch / f"horovod-{VERSION}"


def _compile(build: Build, *, python: Path, source: Path, output: Path) -> None:
    output.mkdir()
    command = [str(python), "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
    command += ["--no-cache-dir", "--wheel-dir", str(output), str(source)]
    log_path = output / "build.log"
    with log_path.open("w") as log:
        environment = build_environment(build, python=python)
        code = subprocess.run(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT
        ).returncode
    if code:
        kept = output.parents[1] / f"{build.key}.failed.log"
        shutil.copy(log_path, kept)
        errors = [line for line in kept.read_text(errors="replace").splitlines() if "error" in line]
        first = errors[0].strip()[:300] if errors else "no line says why"
        raise BuildError(f"Horovod did not compile: {first}\nThe whole log: {kept}")


def build_environment(build: Build, *, python: Path) -> dict[str, str]:
    """Returns the environment variables for compiling."""
    programs = [str(build.mpi.mpirun.parent), str(python.parent)]  # mpicxx first, then our cmake
    cores = len(os.sched_getaffinity(0))
    variables = {
        **os.environ,
        **_OPTIONS,
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)]),
        "MAKEFLAGS": f"-j{cores}",  # replaces what a calling make left here
        RPATH_VARIABLE: ";".join(
            [_RPATH_TO_ENVIRONMENT] if build.mpi.from_wheel else build.mpi.library_dirs
        ),
    }
    if build.mpi.from_wheel:
        variables["OPAL_PREFIX"] = str(build.mpi.prefix)
    if build.gpu_operations:
        variables["HOROVOD_GPU_OPERATIONS"] = build.gpu_operations
    return variables
