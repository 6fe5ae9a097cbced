"""Runs the steps of a recipe: each once, in order, going on where it was interrupted."""

import dataclasses
import hashlib
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.files import sha256_of, write_text_atomically
from launch.recipes.identity import identify
from launch.recipes.lineage import Lineage, Output
from launch.recipes.names import BASE
from launch.recipes.plan import Command, Planned
from launch.recipes.shared import record_of, take_shared
from launch.steps import Steps
from limbeck.config.errors import LimbeckError

__all__ = ["command_line", "run_steps"]


def run_steps(
    planned: Sequence[Planned], lineage: Lineage, steps: Steps, *, base: Mapping[str, str]
) -> None:
    """Runs what is not complete yet.

    Raises:
      LimbeckError: a step failed, or was made before by other commands or of other inputs.
    """
    base_ids = {name: identify(Path(path)) for name, path in _read_of(planned, base).items()}
    for step in planned:
        ids = {**base_ids, **{name: output.id for name, output in lineage.outputs.items()}}
        expected = _expected(step, {name: ids.get(name) for name in step.parents})
        if step.shared:
            made = take_shared(step, expected)
        else:
            made = _own(step, lineage.outputs.get(step.name), expected)
        if made is None and step.shared:
            made = _made(step, expected, steps, record_of(step), name=step.output.name)
        elif made is None:
            made = _made(step, expected, steps, lineage, name=step.name)
        else:
            for command in step.commands:
                steps.skip(command.name, command.title, f"{step.output} is there already")
        lineage.put(step.name, made)


def _read_of(planned: Sequence[Planned], base: Mapping[str, str]) -> dict[str, str]:
    names = {name for step in planned for name in step.parents if name in BASE}
    return {name: base[name] for name in names}


def _expected(step: Planned, parents: Mapping[str, str | None]) -> Output:
    """What the record of a step will say, but for its id and time."""
    files = {path: sha256_of(Path(path)) for path in step.reads}
    files |= {p: hashlib.sha256(t.encode()).hexdigest() for p, t in step.writes.items()}
    return Output(
        step=step.step.step,
        path=str(step.output),
        id="",
        commands=tuple(command_line(command) for command in step.commands),
        files=files,
        parents=parents,
        seconds=0.0,
    )


def command_line(command: Command) -> str:
    """A command as one would type it; `launch.recipes.dry_run` has it with mpirun's options."""
    prefix = f"mpirun -np {command.ranks} " if command.ranks > 1 else ""
    return f"{prefix}python -m {shlex.join(command.arguments)}"


def _own(step: Planned, made: Output | None, expected: Output) -> Output | None:
    """The output as the lineage has it, if it still is that; refuses one that is another's."""
    found = identify(step.output)
    if made is None or found is None:
        return None
    differences = made.differences(expected)
    if found != made.id:
        differences.append(f"{step.output} was changed since")
    if not differences:
        return made
    raise LimbeckError(
        f"step {step.name!r} was made before, but not as now: {'; '.join(differences)}; "
        "start anew with --fresh, or in another --out"
    )


def _made(step: Planned, expected: Output, steps: Steps, record: Lineage, *, name: str) -> Output:
    """Makes an output; `record` has the time of attempts from before the first command on."""
    earlier = record.begin(name, expected, last_trace=_last_trace(step.output))
    start = time.monotonic()
    try:
        found = _run(step, steps)
    except BaseException:
        record.interrupted(name, seconds=earlier + time.monotonic() - start)
        raise
    seconds = earlier + time.monotonic() - start
    made = dataclasses.replace(expected, id=found, seconds=seconds)
    record.put(name, made)
    return made


def _run(step: Planned, steps: Steps) -> str:
    """Runs the commands of a step; returns the id of what they leave."""
    step.directory.mkdir(parents=True, exist_ok=True)
    for path, text in step.writes.items():
        write_text_atomically(Path(path), text)
    for command in step.commands:
        steps.run(command.name, command.title, command.arguments, ranks=command.ranks)
    found = identify(step.output)
    if found is None:
        raise LimbeckError(f"step {step.name!r} ended well but left nothing in {step.output}")
    return found


def _last_trace(output: Path) -> float:
    """When anything in an output was last written, in seconds of the epoch; 0 if nothing was."""
    files = [output, *output.rglob("*")] if output.exists() else []
    return max((path.lstat().st_mtime for path in files), default=0.0)
