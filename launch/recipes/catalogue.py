"""The recipe files: those that come with Limbeck, and a user's own by path."""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

from launch.environment import project_root
from launch.recipes.method import Baseline, Extract, Method, Train
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError

__all__ = ["files", "find", "listing", "load", "with_settings"]


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


def load(path: Path) -> Method:
    """Reads a recipe file; its training recipes lie in the folder of its name."""
    return yaml_file.load(path, Method)


def listing() -> str:
    """One line a recipe."""
    methods = {name: load(path) for name, path in files().items()}
    width = max(map(len, methods), default=0)
    lines = [f"  {name:<{width}}  {method.title}" for name, method in methods.items()]
    return "\n".join([*lines, "", "make recipe NAME=... runs one and compares it."])


def with_settings(method: Method, assignments: Sequence[str]) -> Method:
    """The recipe with `STEP.SETTING=VALUE` put into the `set` of train steps.

    Raises:
      UsageError: no such step.
    """
    steps = list(method.steps)
    places = {step.name: i for i, step in enumerate(steps)}
    for assignment in assignments:
        name, dot, setting = assignment.partition(".")
        setting, equals, text = setting.partition("=")
        step = steps[places[name]] if name in places else None
        if not (dot and equals and setting and isinstance(step, Train | Baseline | Extract)):
            able = [s.name for s in steps if isinstance(s, Train | Baseline | Extract)]
            raise UsageError(
                f"--set {assignment}: expected STEP.SETTING=VALUE, such as student.training.steps="
                f"20, with a step of {', '.join(able)}"
            )
        value = yaml_file.loads(f"value: {text}", _Value).value
        steps[places[name]] = dataclasses.replace(step, set={**step.set, setting: value})
    return dataclasses.replace(method, steps=tuple(steps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Value:
    value: str | int | float | bool | tuple[str, ...]
