"""What goes around a command in every scheduler's file: variables, staging, supervision."""

import shlex
from collections.abc import Sequence
from typing import Annotated, Protocol

import tyro

from launch.jobs.knobs import Knobs
from limbeck.config.errors import UsageError

__all__ = [
    "Repeated",
    "Supervised",
    "check_positive",
    "check_supervision",
    "environment_of",
    "stage_words",
    "supervise_words",
]

Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


def check_positive(option: str, value: int, *, least: int = 1) -> None:
    """Refuses a number below `least`, by the option's name on the command line.

    Raises:
      UsageError: it is.
    """
    if value < least:
        raise UsageError(f"--{option.replace('_', '-')} {value}: must be at least {least}")


def environment_of(assignments: Sequence[str], knobs: Knobs) -> dict[str, str]:
    """Returns the variables that the ranks get: Horovod's settings, then `NAME=VALUE`s.

    Raises:
      UsageError: an assignment without `=`, or a name given twice.
    """
    variables = dict(knobs.environment())
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--env {assignment}: expected NAME=VALUE")
        if name in variables:
            raise UsageError(f"--env {assignment}: {name} is set twice")
        variables[name] = value
    return variables


def stage_words(texts: Sequence[str]) -> list[list[str]]:
    """Returns the commands that bring data to a node's own disk.

    Raises:
      UsageError: a text that a shell could not split, or an empty one.
    """
    found = []
    for text in texts:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--stage {text!r}: {error}") from error
        if not words:
            raise UsageError("--stage: give it the arguments of `python -m launch stage`")
        found.append(["python", "-m", "launch", "stage", *words])
    return found


class Supervised(Protocol):
    """Settings with those of a supervision among them."""

    @property
    def supervise(self) -> str:
        """Directory of the run; empty for no supervision."""

    @property
    def progress_timeout(self) -> int:
        """Seconds, or 0."""


def check_supervision(job: Supervised) -> None:
    """Refuses a time limit of a supervision that there is not.

    Raises:
      UsageError: that, or a negative one.
    """
    check_positive("progress_timeout", job.progress_timeout, least=0)
    if job.progress_timeout and not job.supervise:
        raise UsageError("--progress-timeout has no effect without --supervise")


def supervise_words(job: Supervised, *, hostfile: str = "") -> list[str]:
    """Returns what stands before a supervised command, if it is one.

    Args:
      job: the settings.
      hostfile: the file of hosts that the command names too, if it has one.
    """
    if not job.supervise:
        return []
    words = ["python", "-m", "launch", "supervise", "--run-dir", job.supervise]
    if job.progress_timeout:
        words += ["--progress-timeout", str(job.progress_timeout)]
    return [*words, *(["--hostfile", hostfile] if hostfile else []), "--"]
