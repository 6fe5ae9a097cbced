"""`python -m launch run -np 2 -- COMMAND`: one command on several ranks of this machine."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

from launch.environment import mpi_environment
from launch.mpirun import mpirun_command
from limbeck.config.errors import UsageError

LATER_VERBS = {
    "plan": "predict bytes, time and efficiency of a job (comes with the cluster launcher)",
    "supervise": "watch heartbeats and restart a job (comes with the cluster launcher)",
    "stage": "bring verified shards to node-local disk (comes with the cluster launcher)",
}


def run(argv: Sequence[str]) -> int:
    """Runs a command under mpirun, printing the exact command line first.

    Returns:
      The exit code of mpirun: 0 when every rank ended well.

    Raises:
      UsageError: the number of ranks is not positive or no command was given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m launch run",
        description="Run a command on several ranks of this machine under mpirun.",
        epilog="example: python -m launch run -np 2 -- python -m train run recipes/distil.yaml "
        "--run-dir runs/distil",
    )
    parser.add_argument("-np", "--num-ranks", type=int, required=True, help="number of ranks")
    parser.add_argument("--dry-run", action="store_true", help="print the command and stop")
    parser.add_argument("command", nargs="+", help="the command, after `--`")
    options = parser.parse_args(argv)
    if options.num_ranks < 1:
        raise UsageError(f"-np {options.num_ranks}: the number of ranks must be at least 1")
    command = mpirun_command(options.num_ranks, python_of_environment(options.command))
    print(shlex.join(command), file=sys.stderr, flush=True)
    if options.dry_run:
        return 0
    return subprocess.run(command, env={**os.environ, **mpi_environment()}).returncode


def python_of_environment(command: Sequence[str]) -> list[str]:
    """Replaces a bare `python` by the interpreter that runs this process."""
    if command[0] in ("python", "python3"):
        return [sys.executable, *command[1:]]
    return list(command)


def later(verb: str) -> Callable[[Sequence[str]], int]:
    """A verb that is promised but not there yet: says so and exits with 2."""

    def refuse(argv: Sequence[str]) -> int:
        raise UsageError(f"`launch {verb}` is not there yet: it comes with the cluster launcher")

    return refuse
