"""Where steps of a recipe and their settings were written: a line of its file, or a `--set`."""

import dataclasses
from collections.abc import Mapping, Sequence

from launch.recipes.method import Baseline, Extract, Method, Train
from launch.recipes.names import BASE, names_in
from launch.recipes.training_recipes import plain_of
from limbeck.config.errors import UsageError
from limbeck.config.located import Entry, Node, parse_yaml
from limbeck.config.place import remember, remembered
from limbeck.config.typed import build

__all__ = ["setting_places", "step_place", "with_settings"]


def step_place(method: Method, name: str) -> str:
    """`recipe.yaml:28` of a step; empty for a recipe that was made in Python."""
    node = _step_node(method, name)
    return "" if node is None else node.where


def setting_places(method: Method, name: str, field: str = "set") -> dict[str, str]:
    """Setting -> place, of a mapping of a step: `set`, or the `options` of a prepare step."""
    node = _step_node(method, name)
    entry = node.value.get(field) if node is not None and isinstance(node.value, dict) else None
    settings = entry.node.value if entry is not None else None
    return {n: e.where for n, e in settings.items()} if isinstance(settings, dict) else {}


def _step_node(method: Method, name: str) -> Node | None:
    root = remembered(method)
    if root is None:
        return None
    assert isinstance(root.value, dict)  # or it would be no Method
    steps = root.value["steps"].node.value
    assert isinstance(steps, list)
    return steps[[step.name for step in method.steps].index(name)]


def with_settings(method: Method, assignments: Sequence[str]) -> Method:
    """The recipe with `STEP.SETTING=VALUE` put into the `set` of its steps.

    Args:
      method: as `load` read it.
      assignments: values are YAML: text, numbers, true, false, lists of these.

    Raises:
      UsageError: no such step, or a value that is none; it begins with `--set ASSIGNMENT:`.
    """
    for assignment in assignments:
        name, _, setting = assignment.partition(".")
        setting, equals, text = setting.partition("=")
        able = [s.name for s in method.steps if isinstance(s, Train | Baseline | Extract)]
        if name not in able or not equals or not all(setting.split(".")):
            raise UsageError(
                f"--set {assignment}: expected STEP.SETTING=VALUE, such as student.training.steps="
                f"20, with a step of {', '.join(able)}"
            )
        where = f"--set {assignment}"
        leaf = parse_yaml(text, name=where, numbered=False) if text.strip() else Node(None, where)
        if leaf.value is None or isinstance(leaf.value, dict):
            raise UsageError(f"{where}: expected text, a number, true, false, or a list of these")
        _check_names(leaf, method, name)
        root = _with_setting(method, name, setting, leaf)
        method = build(Method, root)
        remember(method, root)
    return method


def _check_names(leaf: Node, method: Method, step: str) -> None:
    """Refuses `$name` of what is not made before the step."""
    names = [other.name for other in method.steps]
    known = [*names[: names.index(step)], *BASE]
    for name in names_in(plain_of(leaf)):
        if name not in known:
            raise UsageError(f"{leaf.where}: ${name} is none of {', '.join(known)}")


def _with_setting(method: Method, step: str, setting: str, leaf: Node) -> Node:
    """The tree that the recipe was built from, with a value at steps[STEP].set[SETTING]."""
    root = remembered(method)
    assert root is not None  # of a file
    assert isinstance(root.value, dict)
    entry = root.value["steps"]
    assert isinstance(entry.node.value, list)
    steps = [
        _put(node, {"set": _put(_child(node, "set", leaf), {setting: leaf})})
        if other.name == step
        else node
        for other, node in zip(method.steps, entry.node.value, strict=True)
    ]
    return _put(root, {"steps": Node(steps, entry.node.where)})


def _child(node: Node, key: str, leaf: Node) -> Node:
    assert isinstance(node.value, dict)
    return node.value[key].node if key in node.value else Node({}, leaf.where)


def _put(node: Node, children: Mapping[str, Node]) -> Node:
    """A copy of a mapping with children replaced or added."""
    assert isinstance(node.value, dict)
    entries = {key: Entry(child.where, child) for key, child in children.items()}
    return dataclasses.replace(node, value={**node.value, **entries})
