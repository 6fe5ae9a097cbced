"""One start of a supervised command, from its first process to its last."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launch.processes.asked import Asked
from launch.processes.family import Family
from launch.processes.table import Process
from launch.supervision.findings import Findings
from launch.supervision.output import TAGGED, Line, demultiplex
from launch.supervision.watch import Standstill, Watch

__all__ = ["Ended", "Output", "attempt"]

LOOK_S = 1.0
EXIT_KILLED = 137  # of what does not even go when it is killed
READ_OUT_S = 5.0  # for output that is still in the pipe when all processes have gone


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended."""

    code: int
    """As shells count; of the command, whatever we did to it."""

    standstill: Standstill | None
    """Why we ended it, if we did."""

    findings: Findings
    """What its output says."""

    seconds: float
    """From its start until nothing was left of it."""

    left: tuple[Process, ...]
    """What could not be killed."""


class Output:
    """Shows what a job prints, and adds it to a log with the rank before each line.

    Args:
      log: file that lines are added to; None for none.
    """

    def __init__(self, log: Path | None) -> None:
        self._file: IO[str] | None = None
        if log is not None:
            self._file = log.open("a", errors="replace")

    def show(self, line: Line) -> None:
        """Takes a line of the job. The leader's is shown as it is."""
        self._log(str(line))
        sys.stdout.write(f"{line.text if line.rank == 0 else line}\n")  # at once, as threads print
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Adds a line of the supervisor's own to the log."""
        self._log(text)

    def close(self) -> None:
        """Closes the log."""
        if self._file is not None:
            self._file.close()

    def _log(self, text: str) -> None:
        if self._file is not None:
            try:
                self._file.write(text + "\n")
                self._file.flush()
            except OSError:  # a full disk must not end what may well go on without this log
                with contextlib.suppress(OSError):
                    self._file.close()
                self._file = None


def attempt(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: Output,
    watch: Watch | None,
    asked: Asked,
    grace_s: float,
    tell: Callable[[str], None],
) -> Ended:
    """Runs a command until it ends, stands still, or was asked to stop; then nothing of it is left.

    Args:
      command: the program and its arguments.
      environment: of the command.
      output: takes what it prints.
      watch: says whether it gets on; None where there are no heartbeats.
      asked: requests to stop; the first is handed on, the second ends everything.
      grace_s: seconds between such a request and the end by force.
      tell: takes lines for the user.

    Raises:
      UsageError: the command cannot be started.
    """
    started, findings = time.monotonic(), Findings()
    family = Family(
        command,
        environment={**environment, **TAGGED},
        stdout=subprocess.PIPE,
        grace_s=grace_s,
    )
    reader = threading.Thread(target=_read, args=(family, output, findings), daemon=True)
    reader.start()
    standstill = None
    try:
        standstill = _until_over(family, watch=watch, asked=asked, grace_s=grace_s, tell=tell)
    finally:
        left = family.end()
    code = family.poll()
    reader.join(READ_OUT_S)
    if watch is not None:
        watch.look()
    return Ended(
        code=EXIT_KILLED if code is None else code,
        standstill=standstill,
        findings=findings,
        seconds=time.monotonic() - started,
        left=tuple(left),
    )


def _until_over(
    family: Family,
    *,
    watch: Watch | None,
    asked: Asked,
    grace_s: float,
    tell: Callable[[str], None],
) -> Standstill | None:
    """Waits until the command has ended, or shall be ended; returns how it stood still, if so."""
    end_at, look_at = float("inf"), 0.0
    while family.poll() is None:
        now = time.monotonic()
        if asked.times and end_at == float("inf"):
            end_at = now + grace_s
            if watch is not None:
                watch.look()
            told = family.ask(watch.pids if watch else ())
            tell(f"{asked.first.name}: asked the job to save and stop in {grace_s:g} s ({told})")
        if asked.times > 1 or now > end_at:
            tell("ending the job by force")
            break
        if now > look_at:
            look_at = now + LOOK_S
            family.look()
            if watch and not asked.times and (standstill := watch.look()) is not None:
                return standstill
        asked.wait(LOOK_S / 5)
    return None


def _read(family: Family, output: Output, findings: Findings) -> None:
    """Shows, logs and looks at the output until the last process has closed it."""
    assert family.process.stdout is not None

    def lines() -> Iterator[str]:
        for line in family.process.stdout or ():
            yield line.decode(errors="replace")

    with family.process.stdout:
        for line in demultiplex(lines()):
            findings.take(line)
            with contextlib.suppress(OSError):  # nobody reads it any more; the log goes on
                output.show(line)
