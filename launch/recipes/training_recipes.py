"""Training recipes as plain trees: settings replaced, the teacher taken out, steps counted.

What a setting means is `train`'s business; here they are text that is handed on.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.recipes.method import Option
from limbeck.config.errors import UsageError
from limbeck.config.located import Node, parse_yaml

__all__ = ["num_steps", "option_text", "read_plain", "replaced", "without", "without_teacher"]

TEACHER_SETTINGS = ("data.labels", "data.heldout_labels", "data.teacher")


def read_plain(path: Path) -> dict[str, Any]:
    """Reads a YAML file as plain values.

    Raises:
      UsageError: it cannot be read, or holds no mapping.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    plain = _plain(parse_yaml(text, name=str(path)))
    if not isinstance(plain, dict):
        raise UsageError(f"{path}: expected a mapping, a training recipe")
    return plain


def replaced(plain: Mapping[str, Any], settings: Mapping[str, Option]) -> dict[str, Any]:
    """A copy of the tree with `a.b.c` settings replaced or added."""
    tree = json.loads(json.dumps(plain))
    for path, value in settings.items():
        *outer, last = path.split(".")
        node = tree
        for key in outer:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(last) if isinstance(node, list) else last] = value
    return dict(tree)


def without(plain: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """A copy of the tree without `a.b.c` settings; those that are not there are no error."""
    tree = json.loads(json.dumps(plain))
    for path in paths:
        *outer, last = path.split(".")
        node: Any = tree
        for key in outer:
            node = node.get(key, {}) if isinstance(node, dict) else {}
        node.pop(last, None)
    return dict(tree)


def without_teacher(
    plain: Mapping[str, Any], objective: Sequence[Mapping[str, Option]], *, where: str
) -> dict[str, Any]:
    """The tree with an objective on true labels alone, and nothing that only a teacher needs.

    Stages become one part of as many steps.

    Raises:
      UsageError: it is not known how many steps the stages make.
    """
    tree = without(plain, (*TEACHER_SETTINGS, "stages"))
    tree = replaced(tree, {"training.steps": num_steps(plain, where=where)})
    return {**tree, "objective": [dict(term) for term in objective]}


def num_steps(plain: Mapping[str, Any], *, where: str) -> int:
    """Updates that a training recipe makes, over all of its stages where it has some.

    Raises:
      UsageError: it does not say.
    """
    stages = plain.get("stages")
    if not stages:
        counts = [plain.get("training", {}).get("steps")]
    else:
        counts = [_stage_steps(stage, where=where) for stage in stages]
    if not all(type(count) is int for count in counts):
        raise UsageError(f"{where}: training.steps must say how many steps are made")
    return sum(counts)


def _stage_steps(stage: Mapping[str, Any], *, where: str) -> Any:
    """Steps of a stage, all of its parts together."""
    if stage.get("unfreeze") == "layer_by_layer":
        raise UsageError(
            f"{where}: stage {stage.get('name')!r} is unfrozen layer_by_layer, in as many parts as "
            "the student has layers; name them as groups, so that its steps can be counted"
        )
    parts = len(stage.get("groups") or {}) or 1
    return stage["steps"] * parts if type(stage.get("steps")) is int else None


def option_text(value: Option) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(node: Node) -> Any:
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: _plain(entry.node) for key, entry in node.value.items()}
    return node.value
