"""`python -m launch run -np 4 -- COMMAND`: one command on several ranks, here or on other hosts."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.environment import mpi_environment
from launch.jobs.hosts import Host
from launch.jobs.knobs import Knobs, replaced
from launch.jobs.links import Links
from launch.jobs.mpirun import mpirun_command, usual_exports
from launch.jobs.preflight import Preflight
from launch.jobs.run_options import RunOptions, split_command
from launch.processes.family import run_passing_on
from limbeck.config.command import parse
from limbeck.config.errors import UsageError

EXIT_USAGE = 2

_DESCRIPTION = """Run a command on several ranks under mpirun, on this machine or on several hosts.

usage: python -m launch run -np N [OPTIONS] -- COMMAND

example: python -m launch run -np 2 -- python -m train run recipes/distil.yaml --run-dir runs/distil

The exact mpirun line is printed first. Exit code: mpirun's; 128 + n where signal n ended it; 143
where it was asked to stop; 2 where nothing was started. SIGTERM, SIGINT and SIGUSR1 ask all ranks
to save and stop, a second one ends them at once."""


def run(argv: Sequence[str]) -> int:
    """Runs a command under mpirun, printing the exact command line first.

    Returns:
      The exit code of mpirun: 0 when every rank ended well.

    Raises:
      UsageError: options, hosts or settings are wrong; nothing was started.
    """
    arguments, command = split_command(argv, verb="run")
    options = parse(RunOptions, arguments, prog="python -m launch run", description=_DESCRIPTION)
    hosts, links, knobs = options.read_hosts(), options.links(), options.read_knobs()
    environment = mpi_environment()
    command = python_of_environment(command)
    if hosts is None:
        _check_here(command, knobs, environment)
    settings = knobs.environment()
    line = _command_line(
        options, command, hosts=hosts, links=links, settings=settings, environment=environment
    )
    for text in replaced(settings, environment):
        print(f"launch run: note: {text}", file=sys.stderr)
    print(shlex.join(line), file=sys.stderr, flush=True)
    if options.dry_run:
        return 0
    if hosts is not None and not options.skip_checks:
        problems = Preflight(hosts=hosts, links=links, directory=os.getcwd()).problems()
        for problem in problems:
            print(f"launch run: error: {problem}", file=sys.stderr, flush=True)
        if problems:
            return EXIT_USAGE
    return run_passing_on(line, environment={**environment, **settings})


def python_of_environment(command: Sequence[str]) -> list[str]:
    """Replaces a bare `python` by the interpreter that runs this process."""
    if command[0] in ("python", "python3"):
        return [sys.executable, *command[1:]]
    return list(command)


def _command_line(
    options: RunOptions,
    command: Sequence[str],
    *,
    hosts: Sequence[Host] | None,
    links: Links,
    settings: Mapping[str, str],
    environment: Mapping[str, str],
) -> list[str]:
    for name in options.export:
        if name not in environment:
            raise UsageError(f"--export {name}: the environment has no such variable")
    try:
        return mpirun_command(
            options.num_ranks,
            command,
            hosts=hosts,
            links=links,
            settings=settings,
            exports=[*usual_exports(environment), *options.export],
            environment=environment,
            parameters=options.parameters(),
            oversubscribe=True if options.oversubscribe else None,
            tag_output=options.tag_output,
            directory=None if hosts is None else os.getcwd(),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_here(command: Sequence[str], knobs: Knobs, environment: Mapping[str, str]) -> None:
    """Finds what Open MPI and Horovod would only complain of, or not even that."""
    if not shutil.which(command[0], path=environment.get("PATH")):
        raise UsageError(f"{command[0]}: there is no such program")
    for name, path in (("timeline", knobs.timeline), ("autotune_log", knobs.autotune_log)):
        if path and not Path(path).parent.is_dir():
            raise UsageError(f"{name} is {path}, but there is no directory {Path(path).parent}")
