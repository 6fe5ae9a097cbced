"""Runs commands one after the other, with a heading, a log file and a time for each."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.environment import mpi_environment
from launch.jobs.mpirun import mpirun_command
from launch.processes.family import end_with_parent
from limbeck.config.errors import LimbeckError

# TensorFlow says these at every start, whatever its log level; the log file keeps them.
_NOISE = (
    "All log messages before absl::InitializeLog() is called",
    "oneDNN custom operations are on",
    "oneDNN supports DT_HALF only on platforms with AVX-512",
)


@dataclass(kw_only=True)
class Steps:
    """The commands of a demonstration or a recipe, and what each took."""

    log_directory: Path
    """Where each step's whole output goes."""
    total: int
    """How many steps there will be, for the headings."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock seconds of the steps done so far, by name."""
    keep_open: tuple[int, ...] = ()
    """File descriptors that every command inherits: a lock is held until the last one has ended,
    even when we are killed before."""

    def run(self, name: str, title: str, arguments: Sequence[str], *, ranks: int = 1) -> str:
        """Runs `python -m ARGUMENTS`, under mpirun when `ranks` is more than one.

        Returns:
          What the command printed, standard error included.

        Raises:
          LimbeckError: the command failed; the message names it and its log file.
        """
        command = [sys.executable, "-m", *arguments]
        if ranks > 1:
            command = mpirun_command(ranks, command)
        self.heading(name, title, f"python -m {shlex.join(arguments)}", ranks=ranks)
        log = self.log_directory / f"{len(self.seconds) + 1:02d}-{name}.log"
        start = time.monotonic()
        output, code = run_and_show(command, log=log, keep_open=self.keep_open)
        self.seconds[name] = time.monotonic() - start
        if code != 0:
            raise LimbeckError(f"the step `{name}` ended with code {code}; its output is in {log}")
        return output

    def heading(self, name: str, title: str, command: str, *, ranks: int = 1) -> None:
        """Prints which step begins and the command that does it."""
        number = len(self.seconds) + 1
        prefix = f"mpirun -np {ranks} " if ranks > 1 else ""
        print(f"\n[{number}/{self.total}] {title}\n    {prefix}{command}", flush=True)

    def skip(self, name: str, title: str, reason: str) -> None:
        """Counts a step that need not run."""
        print(f"\n[{len(self.seconds) + 1}/{self.total}] {title}\n    {reason}", flush=True)
        self.seconds[name] = 0.0


def run_and_show(
    command: Sequence[str], *, log: Path, keep_open: Sequence[int] = ()
) -> tuple[str, int]:
    """Runs a command, shows its output line by line as it comes and keeps it in `log`.

    The command gets SIGTERM when this process dies, however that happens (on Linux).

    Returns:
      The whole output and the exit code.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    environment = {**os.environ, **mpi_environment(), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with (
        log.open("w") as file,
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=tuple(keep_open),
            preexec_fn=end_with_parent,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            file.write(line)
            if not any(noise in line for noise in _NOISE):
                print(f"    {line}", end="", flush=True)
    return "".join(lines), process.returncode
