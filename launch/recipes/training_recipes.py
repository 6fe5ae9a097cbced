"""Training recipes as plain trees: settings replaced, the teacher taken out, steps counted.

What a setting means is `train`'s business; here they are text that is handed on. Messages begin
with the path of the setting that they are about.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.recipes.method import Option
from limbeck.config.errors import UsageError
from limbeck.config.located import Node, parse_yaml, read_scalar

__all__ = [
    "num_steps",
    "option_text",
    "plain_of",
    "read_tree",
    "replaced",
    "without",
    "without_teacher",
]

TEACHER_SETTINGS = ("data.labels", "data.heldout_labels", "data.teacher")
UNQUOTED = re.compile(r"[A-Za-z0-9_./$+@~-]+")  # text that YAML takes as it is, in a list too


def read_tree(path: Path) -> Node:
    """Reads a YAML file of settings.

    Raises:
      UsageError: it cannot be read, or holds no mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise UsageError(f"{path}:{line}: byte {byte:#04x} is not UTF-8") from error
    root = parse_yaml(text, name=str(path))
    if not isinstance(root.value, dict):
        raise UsageError(f"{root.where}: expected a mapping, a training recipe")
    return root


def plain_of(node: Node) -> Any:
    """A tree without its places."""
    if isinstance(node.value, list):
        return [plain_of(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain_of(entry.node) for key, entry in node.value.items()}
    return node.value


def replaced(plain: Mapping[str, Any], settings: Mapping[str, Option]) -> dict[str, Any]:
    """A copy of the tree with `a.b.c` settings replaced or added.

    Raises:
      UsageError: there is no such place in the tree.
    """
    tree = json.loads(json.dumps(plain))
    for path, value in settings.items():
        tree = _assigned(tree, path.split("."), value, path=path, done="")
    return dict(tree)


def _assigned(node: Any, keys: Sequence[str], value: Option, *, path: str, done: str) -> Any:
    """The node with a value at the path `keys` below it; mappings on the way are made."""
    if not keys:
        return value
    key, here = keys[0], f"{done}.{keys[0]}" if done else keys[0]
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            raise UsageError(f"{path}: {done} is a list of {len(node)}; {key!r} is no index of it")
        node[int(key)] = _assigned(node[int(key)], keys[1:], value, path=path, done=here)
        return node
    if node is None or isinstance(node, dict):
        node = node or {}
        return {**node, key: _assigned(node.get(key), keys[1:], value, path=path, done=here)}
    raise UsageError(f"{path}: {done} is {node!r}, which has no {key!r} inside")


def without(plain: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """A copy of the tree without `a.b.c` settings; those that are not there are no error."""
    tree = json.loads(json.dumps(plain))
    for path in paths:
        *outer, last = path.split(".")
        node: Any = tree
        for key in outer:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return dict(tree)


def without_teacher(
    plain: Mapping[str, Any], objective: Sequence[Mapping[str, Option]]
) -> dict[str, Any]:
    """The tree with an objective on true labels alone, and nothing that only a teacher needs.

    Stages become one part of as many steps.

    Raises:
      UsageError: it is not known how many steps the stages make.
    """
    tree = without(plain, (*TEACHER_SETTINGS, "stages"))
    tree = replaced(tree, {"training.steps": num_steps(plain)})
    return {**tree, "objective": [dict(term) for term in objective]}


def num_steps(plain: Mapping[str, Any]) -> int:
    """Updates that a training recipe makes, over all of its stages where it has some.

    Raises:
      UsageError: it does not say.
    """
    stages = plain.get("stages")
    if not stages:
        return _steps_of(plain.get("training"), "training")
    if not isinstance(stages, list):
        raise UsageError(f"stages is {stages!r}; expected a list of stages")
    return sum(_stage_steps(stage, f"stages[{index}]") for index, stage in enumerate(stages))


def _stage_steps(stage: Any, path: str) -> int:
    """Steps of a stage, all of its parts together."""
    if isinstance(stage, dict) and stage.get("unfreeze") == "layer_by_layer":
        raise UsageError(
            f"{path}.unfreeze: stage {stage.get('name')!r} is unfrozen layer_by_layer, in as many "
            "parts as the student has layers; name them as groups, so that its steps can be counted"
        )
    groups = stage.get("groups") if isinstance(stage, dict) else None
    return _steps_of(stage, path) * (len(groups) if isinstance(groups, dict) and groups else 1)


def _steps_of(settings: Any, path: str) -> int:
    steps = settings.get("steps") if isinstance(settings, dict) else None
    if type(steps) is not int:
        raise UsageError(f"{path}.steps must say how many steps are made")
    return steps


def option_text(value: Option) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(option_text, value))}]"
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_plain(text: str) -> bool:
    """Whether YAML reads text without quotes as the same text."""
    try:
        return UNQUOTED.fullmatch(text) is not None and read_scalar(text) == text
    except ValueError:
        return False
