"""`python -m launch supervise --run-dir RUN -- COMMAND`: watches a job and starts it again."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from launch.environment import mpi_environment
from launch.jobs.run import python_of_environment
from launch.supervision.supervisor import Policy, Supervisor
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError

__all__ = ["supervise"]

DESCRIPTION = """Runs COMMAND, watches the heartbeats of its ranks, and starts it again when a rank
or a host was lost or stands still; the trainer goes on from its newest checkpoint. SIGTERM, SIGINT
or SIGUSR1 lets the job save first. Nothing that it started is left when it ends. COMMAND is
anything: python -m launch run -np 2 -- python -m train run ..., an mpirun line, srun."""

_WATCHING = ("progress_timeout", "start_timeout", "max_idle_restarts")


@dataclass(frozen=True, kw_only=True)
class SuperviseOptions:
    """Options of `supervise`."""

    run_dir: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """The run's directory, or the --out of an extraction: its heartbeats are watched, and
    supervise.jsonl and supervise.log are written there. Without it only the exit code counts."""

    progress_timeout: float = 300.0
    """Seconds without progress of any rank (a step, a batch of an evaluation) before the job counts
    as frozen. Longer than the longest step, and than writing a checkpoint."""

    start_timeout: float = 900.0
    """Seconds for the time before the first step (imports, compiling), between the stages of a run,
    and for leaving at the end."""

    max_restarts: int = 3
    """Restarts at most."""

    max_idle_restarts: int = 2
    """Restarts at most in a row that have not brought a newer checkpoint."""

    back_off: float = 5.0
    """Seconds before the first restart; doubled for each one without a newer checkpoint."""

    max_back_off: float = 300.0
    """What that pause does not grow beyond."""

    grace: float = 120.0
    """Seconds that the job has to save when it is asked to stop."""

    hostfile: Annotated[str, tyro.conf.arg(metavar="F")] = ""
    """The hostfile that COMMAND names too. A lost host is left out of a copy, RUN/hostfile, which
    COMMAND then gets in its place, with fewer ranks if need be."""

    def __post_init__(self) -> None:
        """Refuses numbers that make no sense, and settings without effect."""
        for name in ("progress_timeout", "start_timeout", "grace"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{_option(name)} is {getattr(self, name):g}; it must be positive")
        for name in ("max_restarts", "max_idle_restarts", "back_off", "max_back_off"):
            if getattr(self, name) < 0:
                raise ValueError(f"{_option(name)} is {getattr(self, name):g}; it is at least 0")
        for field in dataclasses.fields(self):
            given = getattr(self, field.name) != field.default
            if given and not self.run_dir and field.name in (*_WATCHING, "hostfile"):
                raise ValueError(f"{_option(field.name)} has no effect without --run-dir")


def supervise(argv: Sequence[str]) -> int:
    """Runs a command under supervision.

    Returns:
      0 when it was done; 143 or 130 when this process was asked to stop; else the exit code of the
      last attempt, 124 where that stood still.

    Raises:
      UsageError: an option is wrong, there is no command, or it cannot be started.
    """
    own, command = _split(argv)
    prog = "python -m launch supervise"
    options = parse(SuperviseOptions, own, prog=prog, description=DESCRIPTION)
    if not command:
        raise UsageError("no command; give it after `--`: launch supervise --run-dir RUN -- ...")
    policy = Policy(
        run_dir=Path(options.run_dir) if options.run_dir else None,
        progress_timeout_s=options.progress_timeout,
        start_timeout_s=options.start_timeout,
        max_restarts=options.max_restarts,
        max_idle_restarts=options.max_idle_restarts,
        back_off_s=options.back_off,
        max_back_off_s=options.max_back_off,
        grace_s=options.grace,
        hostfile=options.hostfile,
    )
    with before_work():
        supervisor = Supervisor(
            python_of_environment(command), policy=policy, environment=_environment()
        )
    return supervisor.run()


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own options and the command behind the first `--`."""
    arguments = list(argv)
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _environment() -> dict[str, str]:
    """Of the command; with the environment's own MPI where `make setup` has made one."""
    try:
        environment = {**os.environ, **mpi_environment()}
    except FileNotFoundError as error:
        print(f"supervise: note: {error}", file=sys.stderr, flush=True)
        environment = dict(os.environ)
    # Lines of ranks come here through pipes: in time, not when a buffer is full.
    return {**environment, "PYTHONUNBUFFERED": "1"}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
