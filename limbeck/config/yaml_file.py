"""Recipes: strict YAML <-> frozen dataclasses, with the line number in every complaint.

    recipe.yaml:14: unknown key 'temprature' in objective[0]; did you mean 'temperature'?

`limbeck.config.located` says which YAML is read, `limbeck.config.typed` which annotations, and
`limbeck.config.place` how errors that come later find their line.
"""

import dataclasses
import enum
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml

from limbeck.config.errors import UsageError
from limbeck.config.located import Entry, Node, from_plain_value, parse_yaml, read_scalar
from limbeck.config.place import remember
from limbeck.config.typed import build

__all__ = ["dump", "from_plain", "load", "loads", "override", "to_plain"]

T = TypeVar("T")


def load(path: str | pathlib.Path, cls: type[T], *, overrides: Sequence[str] = ()) -> T:
    """Reads a YAML file as the dataclass `cls`.

    Args:
      path: the file, UTF-8.
      cls: a dataclass; `limbeck.config.typed` lists the annotations it may use.
      overrides: `a.b=c` assignments that replace or add values before anything is checked.

    Raises:
      UsageError: unreadable file, or anything wrong in it or in an override.
    """
    try:
        text = pathlib.Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise UsageError(f"{path}:{line}: byte {byte:#04x} is not UTF-8") from error
    return loads(text, cls, str(path), overrides=overrides)


def loads(text: str, cls: type[T], name: str = "<text>", *, overrides: Sequence[str] = ()) -> T:
    """Reads YAML text as the dataclass `cls`; `name` stands before the line numbers."""
    root = _overridden(parse_yaml(text, name=name), overrides)
    settings = build(cls, root)
    remember(settings, root)
    return settings


def from_plain(
    cls: type[T], mapping: Mapping[str, Any], where: str, *, overrides: Sequence[str] = ()
) -> T:
    """Builds `cls` from JSON-like values, as `to_plain` wrote them, through the same checks."""
    return build(cls, _overridden(from_plain_value(mapping, where=where), overrides))


def override(instance: T, assignments: Sequence[str]) -> T:
    """Returns the instance with `a.b=c` assignments applied, through the same checks.

    Lists are indexed from 0, as in `objective.0.weight=2`; what stands after `=` is YAML.
    """
    return from_plain(type(instance), to_plain(instance), "settings", overrides=assignments)


def to_plain(instance: Any) -> Any:
    """Returns settings as JSON-like values: every field, in order, defaults included."""
    if dataclasses.is_dataclass(instance) and not isinstance(instance, type):
        fields = [field.name for field in dataclasses.fields(instance) if field.init]
        return {name: to_plain(getattr(instance, name)) for name in fields}
    if isinstance(instance, enum.Enum):
        return instance.value
    if isinstance(instance, pathlib.PurePath):
        return str(instance)
    if isinstance(instance, Mapping):
        return {key: to_plain(value) for key, value in instance.items()}
    if isinstance(instance, list | tuple):
        return [to_plain(value) for value in instance]
    if isinstance(instance, float) and not math.isfinite(instance):
        raise ValueError(f"{instance} cannot be kept in settings; numbers must be finite")
    if instance is None or isinstance(instance, str | int | float | bool):
        return instance
    raise TypeError(f"{instance!r} of type {type(instance).__name__} is not a setting")


def dump(instance: Any) -> str:
    """Returns settings as YAML that `loads` reads back as an equal instance."""
    return yaml.dump(
        to_plain(instance), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


class _Dumper(yaml.SafeDumper):
    """Quotes whatever our reader would not take for text; never writes anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    try:
        plain = read_scalar(text) == text
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_Dumper.add_representer(str, _represent_text)


def _overridden(root: Node, assignments: Sequence[str]) -> Node:
    for assignment in assignments:
        where = f"--set {assignment}"
        path, equals, text = assignment.partition("=")
        if not equals or not all(path.split(".")):
            raise UsageError(f"{where}: expected key=value, such as training.steps=100")
        empty = Node(None, where)  # `a=` is null, where an empty file is an empty mapping
        leaf = parse_yaml(text, name=where, numbered=False) if text.strip() else empty
        root = _assigned(root, path.split("."), leaf, done="")
    return root


def _assigned(node: Node, keys: list[str], leaf: Node, *, done: str) -> Node:
    """A copy of the tree with `leaf` at the path `keys`; missing mappings on the way are made."""
    if not keys:
        return leaf
    key, here = keys[0], f"{done}.{keys[0]}" if done else keys[0]
    if isinstance(node.value, list):
        if not key.isdecimal() or int(key) >= len(node.value):
            raise UsageError(
                f"{leaf.where}: {done or 'the top level'} is a list of {len(node.value)}; "
                f"{key!r} is no index of it"
            )
        items = list(node.value)
        items[int(key)] = _assigned(items[int(key)], keys[1:], leaf, done=here)
        return Node(items, node.where)
    if isinstance(node.value, dict) or node.value is None:
        entries, where = dict(node.value or {}), node.where
        old = entries.get(key)
        child = _assigned(old.node if old else Node(None, leaf.where), keys[1:], leaf, done=here)
        entries[key] = Entry(old.where if old and len(keys) > 1 else leaf.where, child)
        return Node(entries, where)
    raise UsageError(f"{leaf.where}: {done} is {node.value!r}, which has no {key!r} inside")
