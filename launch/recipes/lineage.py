"""lineage.json: for every output of a recipe what made it, of what, and how long that took."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck import __version__
from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_write

__all__ = ["FILE", "Begun", "Lineage", "Output", "recipe_file_of"]

FILE = "lineage.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output that is there."""

    step: str
    """Kind of the step that made it."""
    path: str
    """Where it lies."""
    id: str
    """Of its content; see `launch.recipes.identity`."""
    commands: tuple[str, ...]
    """What was run, in order."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that the commands read beside the parents."""
    parents: Mapping[str, str | None] = field(default_factory=dict)
    """Name -> id of the outputs that it was made of."""
    seconds: float
    """Wall clock of the commands, over all attempts; one that was killed counts up to the last
    file that it wrote."""

    def differences(self, other: "Output") -> list[str]:
        """What another making of the same step would do otherwise, in words."""
        found = []
        if self.commands != other.commands:
            found.append("other commands")
        for title, old, new in (
            ("file", self.files, other.files),
            ("input", self.parents, other.parents),
        ):
            changed = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
            found += [f"another {title} {name}" for name in changed]
        return found


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An output that is being made, or whose making was interrupted."""

    output: Output
    """What it is to be, without an id; `seconds` are those of the attempts that ended."""
    since: float | None
    """When the last attempt began, in seconds of the epoch; None where its time is counted."""


class Lineage:
    """The outputs of one recipe; every change is on the disk before a method returns."""

    def __init__(self, directory: Path, *, recipe: str, recipe_file: str = "") -> None:
        """Reads what is there.

        Args:
          directory: of the recipe's outputs.
          recipe: its name.
          recipe_file: where it was read; empty for one that comes with Limbeck.

        Raises:
          LimbeckError: the file is damaged.
        """
        self.file = directory / FILE
        self.recipe = recipe
        self.recipe_file = recipe_file
        self.outputs: dict[str, Output] = {}
        """By name of the step."""
        self.begun: dict[str, Begun] = {}
        """By name of the step: those that are not complete."""
        if self.file.exists():
            self.outputs, self.begun = _read(self.file)

    def begin(self, name: str, expected: Output, *, last_trace: float = 0.0) -> float:
        """Records that a step is being made.

        Args:
          name: of the step.
          expected: what it is to be.
          last_trace: epoch seconds of the last thing that an earlier attempt is known to have done.

        Returns:
          Seconds that earlier attempts to make the same took.
        """
        earlier, seconds = self.begun.get(name), 0.0
        if earlier is not None and not earlier.output.differences(expected):
            killed = 0.0 if earlier.since is None else max(0.0, last_trace - earlier.since)
            seconds = earlier.output.seconds + killed
        self.outputs.pop(name, None)
        output = dataclasses.replace(expected, seconds=seconds)
        self.begun[name] = Begun(output=output, since=time.time())
        self._write()
        return seconds

    def interrupted(self, name: str, *, seconds: float) -> None:
        """Records how long all attempts so far took."""
        output = dataclasses.replace(self.begun[name].output, seconds=seconds)
        self.begun[name] = Begun(output=output, since=None)
        self._write()

    def put(self, name: str, output: Output) -> None:
        """Records what a step made."""
        self.begun.pop(name, None)
        self.outputs[name] = output
        self._write()

    def forget(self, names: Sequence[str]) -> None:
        """Takes outputs out."""
        for name in names:
            self.outputs.pop(name, None)
        self._write()

    def to_plain(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "recipe_file": self.recipe_file,
            "version": __version__,
            "outputs": {name: dataclasses.asdict(made) for name, made in self.outputs.items()},
            "begun": {name: dataclasses.asdict(begun) for name, begun in self.begun.items()},
        }

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_plain(), indent=2, ensure_ascii=False) + "\n"
        atomic_write(self.file, text.encode())


def recipe_file_of(directory: Path) -> str:
    """The recipe file that a directory's outputs are of; empty where that is not known."""
    try:
        return str(json.loads((directory / FILE).read_text())["recipe_file"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _read(file: Path) -> tuple[dict[str, Output], dict[str, Begun]]:
    try:
        plain = json.loads(file.read_text())
        if plain["format"] != FORMAT:
            raise ValueError(f"format {plain['format']}")
        outputs = {name: _output(made) for name, made in plain["outputs"].items()}
        begun = {
            name: Begun(output=_output(entry["output"]), since=entry["since"])
            for name, entry in plain.get("begun", {}).items()
        }
        return outputs, begun
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LimbeckError(
            f"{file}: is damaged or not ours ({error}); remove it, or start anew with --fresh"
        ) from error


def _output(plain: Mapping[str, Any]) -> Output:
    return Output(**{**plain, "commands": tuple(plain["commands"])})
