"""Runs the steps of a recipe: each once, in order, going on where it was interrupted."""

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from launch.files import sha256_of, write_text_atomically
from launch.recipes.identity import identify
from launch.recipes.lineage import Lineage, Output
from launch.recipes.names import BASE
from launch.recipes.plan import Command, Planned
from launch.steps import Steps
from limbeck.config.errors import LimbeckError

__all__ = ["command_line", "holding", "run_steps"]

LOCK = ".lock"


@contextlib.contextmanager
def holding(directory: Path) -> Iterator[int]:
    """Holds a directory for one runner and the commands that it starts; yields the descriptor.

    Commands inherit it: what a killed runner had started is waited for, not run beside.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{directory} is in use by another run; waiting for its end ...", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


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
        made = lineage.outputs.get(step.name)
        if made is None and step.shared:
            made = _shared(step, expected)
        if made is not None and _is_there(step, made, expected):
            lineage.put(step.name, made)
            for command in step.commands:
                steps.skip(command.name, command.title, f"{step.output} is there already")
            continue
        lineage.put(step.name, _made(step, expected, steps))


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
    """A command as one would type it."""
    prefix = f"mpirun -np {command.ranks} " if command.ranks > 1 else ""
    return f"{prefix}python -m {shlex.join(command.arguments)}"


def _is_there(step: Planned, made: Output, expected: Output) -> bool:
    """Whether the output still is what the lineage says; refuses one that is another's."""
    found = identify(step.output)
    differences = made.differences(expected)
    if found is not None and found == made.id and not differences:
        return True
    if found is None:
        return False
    if found != made.id:
        differences.append(f"{step.output} was changed since")
    raise LimbeckError(
        f"step {step.name!r} was made before, but not as now: {'; '.join(differences)}; "
        "start anew with --fresh"
    )


def _made(step: Planned, expected: Output, steps: Steps) -> Output:
    start = time.monotonic()
    step.output.parent.mkdir(parents=True, exist_ok=True)
    if step.step.step == "evaluate":
        step.output.mkdir(exist_ok=True)
    for path, text in step.writes.items():
        write_text_atomically(Path(path), text)
    for command in step.commands:
        steps.run(command.name, command.title, command.arguments, ranks=command.ranks)
    found = identify(step.output)
    if found is None:
        raise LimbeckError(f"step {step.name!r} ended well but left nothing in {step.output}")
    made = Output(**{**vars(expected), "id": found, "seconds": time.monotonic() - start})
    if step.shared:
        _shared_lineage(step).put(step.name, made)
    return made


def _shared(step: Planned, expected: Output) -> Output | None:
    """What another recipe made of a shared step; removed where its inputs are not ours."""
    made = next(iter(_shared_lineage(step).outputs.values()), None)
    if made is None or not made.differences(expected):
        return made
    print(f"    {step.output.parent} was made of other inputs; making it anew", flush=True)
    shutil.rmtree(step.output.parent)
    return None


def _shared_lineage(step: Planned) -> Lineage:
    return Lineage(step.output.parent, recipe="(shared)")
