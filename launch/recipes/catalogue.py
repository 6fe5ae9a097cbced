"""The recipe files: those that come with Limbeck, and a user's own by path."""

import difflib
from pathlib import Path

from launch.environment import project_root
from launch.recipes.method import Method
from launch.recipes.place import BASELINES
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError

__all__ = ["files", "find", "listing", "load", "name_of"]


def files() -> dict[str, Path]:
    """Name -> file of the recipes that come with Limbeck."""
    folder = project_root() / "recipes" / "methods"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a recipe: a shipped one's name, or a path that ends in .yaml.

    Raises:
      UsageError: there is no such recipe.
    """
    if name.endswith(".yaml"):
        return Path(name)
    known = files()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}, or a .yaml file"
    raise UsageError(f"no recipe {name!r}; {hint}")


def name_of(path: Path) -> str:
    """What the outputs and the row of a recipe are called: as its file, without the ending.

    Raises:
      UsageError: a recipe of one's own that would write over others.
    """
    shipped = files().get(path.stem)
    if path.stem == BASELINES:
        raise UsageError(f"{path}: the baselines of all recipes go by this name; rename the file")
    if shipped is not None and path.resolve() != shipped.resolve():
        raise UsageError(
            f"{path}: the recipe {path.stem!r} of Limbeck has this name, and so has what it makes; "
            "rename the file and its folder"
        )
    return path.stem


def load(path: Path) -> Method:
    """Reads a recipe file; its training recipes lie in the folder of its name."""
    return yaml_file.load(path, Method)


def listing() -> str:
    """One line a recipe."""
    methods = {name: load(path) for name, path in files().items()}
    width = max(map(len, methods), default=0)
    lines = [f"  {name:<{width}}  {method.title}" for name, method in methods.items()]
    return "\n".join([*lines, "", "make recipe NAME=... runs one and compares it."])
