"""What all tests share: markers, quiet TensorFlow, and runs under mpirun.

A test marked `ranks(n)` runs as any other: inside, the fixture `mpirun` starts n processes of its
own. Importing TensorFlow costs about 5 s a process, so such a test puts several checks into one
launch.
"""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import hypothesis
import pytest

# The same cases on every run: a failure that comes and goes helps nobody.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]

# Before any test imports TensorFlow; processes that tests start inherit it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Test files run side by side: threads of their own would only wait for each other's cores.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

Mpirun = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers, for runs that do not read pyproject.toml."""
    for line in (
        "ranks(n): starts n processes under mpirun",
        "faults: kills processes or damages files",
        "slow: left out of `make test`",
    ):
        config.addinivalue_line("markers", line)


def mpirun_line(num_ranks: int, arguments: Sequence[str]) -> list[str]:
    """The command line that runs this Python with `arguments` on `num_ranks` ranks."""
    from launch.jobs.mpirun import mpirun_command

    return mpirun_command(num_ranks, [sys.executable, *arguments])


def process_environment(*, threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process under test: one MPI, few threads, this checkout's packages."""
    from launch.environment import mpi_environment

    return {
        **os.environ,
        **mpi_environment(),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT),
        **(extra or {}),
    }


def run_inside(
    start: Callable[[], object], module: str, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Calls `start`, what `python -m MODULE ARGUMENTS` comes to, in this process.

    A process of its own costs a second, and 5 s with TensorFlow; a command that is run as one
    somewhere need not be so in every test of its answers.
    """
    line, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    argv, sys.argv, code = sys.argv, [module, *line], 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            start()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())


@pytest.fixture
def mpirun(request: pytest.FixtureRequest) -> Mpirun:
    """Runs `python ARGUMENTS` on n ranks and returns what came of it.

    Call as `mpirun(n, arguments, timeout_s=..., check=..., cwd=..., env=...)`; with check, the
    default, a failure fails the test and shows the output of all ranks.
    """
    try:
        import horovod  # noqa: F401
    except ImportError:
        pytest.skip("Horovod is not built; run `make setup`")

    def run(
        num_ranks: int,
        arguments: Sequence[str],
        *,
        timeout_s: float = 120,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            mpirun_line(num_ranks, arguments),
            env=process_environment(threads=1, extra=env),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if check and done.returncode:
            pytest.fail(
                f"exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done

    return run
