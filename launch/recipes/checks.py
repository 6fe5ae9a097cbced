"""Looks at every step of a recipe before the first begins, by commands that need none of its data.

Training recipes are read by `train check`, those of baselines too; options of prepare steps are
compared with what `--help` of their command lists. What depends on data is found by the step.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.recipes.method import Baseline, Method, Prepare
from launch.recipes.plan import Planned
from launch.recipes.written import setting_places, step_place
from limbeck.config.errors import UsageError

__all__ = ["check_steps"]

AT_ONCE = 2  # each takes a second of a core
WIDE = "400"  # columns, so that no line of a help text is folded inside a name
CHOICES = r"[ =]\{([^{}]*)\}\s"


def check_steps(method: Method, planned: Sequence[Planned], *, done: Collection[str] = ()) -> None:
    """Refuses settings and options that a step will refuse when its turn comes.

    Args:
      method: the recipe.
      planned: its steps.
      done: names of steps that need not be looked at.

    Raises:
      UsageError: the first mistake, with where it was written.
    """
    looked_at = [step for step in planned if step.check and step.name not in done]
    with (
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(max_workers=AT_ONCE) as pool,
    ):
        commands = [_command(step, Path(scratch)) for step in looked_at]
        different = list(dict.fromkeys(commands))
        ended = dict(zip(different, pool.map(_run, different), strict=True))
        for step, command in zip(looked_at, commands, strict=True):
            if isinstance(step.step, Prepare):
                _check_options(step.step, method, command, ended[command])
            elif ended[command].returncode != 0:
                raise UsageError(_mistake(step, method, command, ended[command]))


def _command(step: Planned, scratch: Path) -> tuple[str, ...]:
    """The check, of a copy of each file that is not written yet."""
    arguments = list(step.check)
    for path, text in step.writes.items():
        copy = scratch / f"{step.name}-{Path(path).name}"
        copy.write_text(text)
        arguments = [str(copy) if argument == path else argument for argument in arguments]
    return tuple(arguments)


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "COLUMNS": WIDE},
        capture_output=True,
        text=True,
    )


def _mistake(
    step: Planned,
    method: Method,
    command: Sequence[str],
    ended: subprocess.CompletedProcess[str],
) -> str:
    """What `train check` said, with the place where the recipe has it."""
    lines = ended.stderr.strip().splitlines() or [f"ended with code {ended.returncode}"]
    message = lines[-1].removeprefix("train check: error: ")
    place = step_place(method, step.name)
    if isinstance(step.step, Baseline):
        message = re.sub(rf"^{re.escape(command[2])}(:\d+)?: ", "", message)
        return f"{place}: step {step.name!r}: {message}"
    places = setting_places(method, step.name)
    for assignment in command[3:]:
        if message.startswith(f"--set {assignment}: "):
            place = places.get(assignment.partition("=")[0], place)
            rest = message.removeprefix(f"--set {assignment}: ")
            return f"{place}: {rest}" if place.startswith("--set ") else f"{place}: set: {rest}"
    return message


def _check_options(
    step: Prepare,
    method: Method,
    command: Sequence[str],
    ended: subprocess.CompletedProcess[str],
) -> None:
    """Compares names, and values that are one of a few, with a command's help."""
    known = sorted(set(re.findall(r"--([a-z][a-z0-9-]*)", ended.stdout)))
    places = setting_places(method, step.name, "options")
    for name, value in step.options.items():
        where = f"{places.get(name, '')}: options of {step.name!r}:"
        if name not in known or name == "out":
            hint = next(iter(difflib.get_close_matches(name, known, n=1)), None)
            advice = f"did you mean {hint!r}?" if hint else f"python -m {' '.join(command)}"
            raise UsageError(f"{where} {command[0]} has no option {name!r}; {advice}")
        choices = list(_choices(name, ended.stdout))
        if choices and isinstance(value, str) and value not in choices:
            raise UsageError(f"{where} {name} is {value!r}; expected one of {', '.join(choices)}")


def _choices(name: str, text: str) -> Iterator[str]:
    """The values that a help text allows for an option; none where it may be anything."""
    found = re.search(f"--{re.escape(name)}{CHOICES}", text)
    yield from found[1].split(",") if found else ()
