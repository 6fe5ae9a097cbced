"""lineage.json: for every output of a recipe what made it, of what, and how long that took."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck import __version__
from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_write

__all__ = ["FILE", "Lineage", "Output"]

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
    """Wall clock of the commands, over all attempts that this runner lived to see the end of."""

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


class Lineage:
    """The outputs of one recipe; every change is on the disk before `put` returns."""

    def __init__(self, directory: Path, *, recipe: str) -> None:
        """Reads what is there.

        Args:
          directory: of the recipe's outputs.
          recipe: its name.

        Raises:
          LimbeckError: the file is damaged.
        """
        self.file = directory / FILE
        self.recipe = recipe
        self.outputs: dict[str, Output] = {}
        """By name of the step."""
        if self.file.exists():
            self.outputs = _read(self.file)

    def put(self, name: str, output: Output) -> None:
        """Records what a step made."""
        self.outputs[name] = output
        self._write()

    def forget(self, names: Sequence[str]) -> None:
        """Takes outputs out."""
        for name in names:
            self.outputs.pop(name, None)
        self._write()

    def to_plain(self) -> dict[str, Any]:
        """JSON-able values."""
        outputs = {name: dataclasses.asdict(output) for name, output in self.outputs.items()}
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "version": __version__,
            "outputs": outputs,
        }

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_plain(), indent=2, ensure_ascii=False) + "\n"
        atomic_write(self.file, text.encode())


def _read(file: Path) -> dict[str, Output]:
    try:
        plain = json.loads(file.read_text())
        if plain["format"] != FORMAT:
            raise ValueError(f"format {plain['format']}")
        return {
            name: Output(**{**output, "commands": tuple(output["commands"])})
            for name, output in plain["outputs"].items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise LimbeckError(
            f"{file}: is damaged or not ours ({error}); remove it, or start anew with --fresh"
        ) from error
