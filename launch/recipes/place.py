"""Where a recipe stands and where its output goes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from limbeck.config.errors import UsageError

__all__ = ["BASELINES", "Place"]

BASELINES = "baselines"
"""Of OUT: what all recipes share; no recipe's name."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a recipe stands and where its output goes."""

    name: str
    """Of the recipe."""
    folder: Path
    """Holds its training recipes."""
    out: Path
    """Holds the outputs of all recipes; this one's go to OUT/NAME/."""
    base: Mapping[str, str]
    """Name -> path of what the shared base holds."""

    @property
    def directory(self) -> Path:
        """Of this recipe's outputs."""
        return self.out / self.name

    def file(self, name: str) -> Path:
        """A file of the recipe's folder, as commands take it.

        Raises:
          UsageError: it is not there.
        """
        path = Path(os.path.relpath(self.folder / name))
        if not path.is_file():
            raise UsageError(f"{path}: no such file; it must lie in the folder of the recipe")
        return path
