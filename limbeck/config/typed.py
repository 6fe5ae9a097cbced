"""A located tree -> frozen dataclasses, checked against their annotations.

Known annotations: str, int, float, bool, None, Literal, Enum (by value), pathlib.Path,
tuple[T, ...], tuple[A, B], dict[str, T], dataclasses, and unions. A union of dataclasses is told
apart by the field whose Literal values differ between them (`kind`, say). `Annotated` is looked
through. A whole number is a number, but not the other way round.

A dataclass that stands for a growing set of others has a class method `variants`, which returns the
name of the field that tells them apart and the dataclass of each of its values. One that must see
its tree first, such as to import what registers more of these, has a class method `before_build`.
"""

import dataclasses
import difflib
import enum
import math
import pathlib
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar, Union

from limbeck.config.errors import UsageError
from limbeck.config.located import Entry, Node
from limbeck.config.place import place_of

__all__ = ["build"]

T = TypeVar("T")

NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    pathlib.Path: "a path",
}
MAPPINGS = (dict, Mapping)


def build(cls: type[T], node: Node) -> T:
    """Builds the dataclass `cls` from a mapping.

    Raises:
      UsageError: the first thing wrong, with its place and its path inside the tree.
      TypeError: `cls` itself has an annotation that is not supported.
    """
    built: T = _dataclass(_variant(cls, node, ""), node, path="")
    return built


def _convert(hint: Any, node: Node, path: str) -> Any:
    """The value of `node` as annotation `hint` wants it."""
    origin = typing.get_origin(hint)
    if hint is Any or hint is object:
        raise TypeError(f"{path}: annotate with a concrete type, not {hint}")
    if dataclasses.is_dataclass(hint):
        return _dataclass(_variant(typing.cast(type, hint), node, path), node, path)
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(hint), node, path)
    if origin is Literal:
        return _choice(typing.get_args(hint), node, path)
    if _is_enum(hint):
        return hint(_choice([member.value for member in hint], node, path))
    if origin is tuple:
        return _tuple(typing.get_args(hint), node, path)
    if origin in MAPPINGS:
        return _dict(typing.get_args(hint), node, path)
    if hint in NAMES:
        return _scalar(hint, node, path)
    raise TypeError(f"{path}: annotation {hint} is not supported in settings")


def _scalar(hint: type, node: Node, path: str) -> Any:
    value = node.value
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _expected(NAMES[float], node, path) from None
    if hint is pathlib.Path and isinstance(value, str):
        return pathlib.Path(value)
    if type(value) is not hint:  # `is`: a bool is an int to isinstance
        raise _expected(NAMES[hint], node, path)
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{node.where}: {_at(path)} is {value}; expected a finite number")
    return value


def _choice(choices: Collection[Any], node: Node, path: str) -> Any:
    """The one of `choices` that is written there, type and all (1 is not true)."""
    for choice in choices:
        if type(choice) is type(node.value) and choice == node.value:
            return choice
    texts = [choice for choice in choices if isinstance(choice, str)]
    hint = _did_you_mean(node.value, texts) if isinstance(node.value, str) else None
    expected = "one of " + ", ".join(map(repr, choices))
    raise UsageError(
        f"{node.where}: {_at(path)} is {_plain(node.value)}; expected {expected}{hint or ''}"
    )


def _tuple(hints: tuple[Any, ...], node: Node, path: str) -> tuple[Any, ...]:
    if not isinstance(node.value, list):
        raise _expected("a list", node, path)
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(node.value)
    if len(hints) != len(node.value):
        raise UsageError(
            f"{node.where}: {_at(path)} has {len(node.value)} entries; expected {len(hints)}"
        )
    items = zip(hints, node.value, strict=True)
    return tuple(_convert(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(items))


def _dict(hints: tuple[Any, ...], node: Node, path: str) -> dict[str, Any]:
    if hints[0] is not str:
        raise TypeError(f"{path}: keys of settings are text, not {hints[0]}")
    if not isinstance(node.value, dict):
        raise _expected("a mapping", node, path)
    return {
        key: _convert(hints[1], entry.node, _join(path, key)) for key, entry in node.value.items()
    }


def _union(members: tuple[Any, ...], node: Node, path: str) -> Any:
    fitting = [member for member in members if _kind_fits(member, node)]
    if not fitting:
        names = [_name(member) for member in members]
        raise _expected(" or ".join(names), node, path)
    if len(fitting) > 1 and all(dataclasses.is_dataclass(member) for member in fitting):
        return _dataclass(_discriminate(fitting, node, path), node, path)
    error: UsageError | None = None
    for member in fitting:
        try:
            return _convert(member, node, path)
        except UsageError as failed:
            error = error or failed
    raise typing.cast(UsageError, error)


def _kind_fits(hint: Any, node: Node) -> bool:
    """Whether a member of a union could take this sort of node at all."""
    origin, value = typing.get_origin(hint), node.value
    if dataclasses.is_dataclass(hint) or origin in MAPPINGS:
        return isinstance(value, dict)
    if origin is tuple:
        return isinstance(value, list)
    if origin is not Literal and hint not in NAMES and not _is_enum(hint):
        raise TypeError(f"annotation {hint} is not supported in settings")
    if isinstance(value, list | dict):
        return False
    if hint is float:
        return type(value) in (int, float)
    if hint is pathlib.Path:
        return isinstance(value, str)
    return hint not in NAMES or type(value) is hint


def _discriminate(members: list[Any], node: Node, path: str) -> type:
    """The dataclass of a union that the mapping's `kind`-like field names."""
    assert isinstance(node.value, dict)
    hints = [typing.get_type_hints(member) for member in members]
    shared = [
        name for name in hints[0] if all(typing.get_origin(h.get(name)) is Literal for h in hints)
    ]
    for name in shared:
        owners = {
            choice: member
            for member, hint in zip(members, hints, strict=True)
            for choice in typing.get_args(hint[name])
        }
        if len(owners) != sum(len(typing.get_args(hint[name])) for hint in hints):
            continue  # a value two members share tells nothing
        expected = ", ".join(map(repr, owners))
        if name not in node.value:
            raise UsageError(f"{node.where}: {_at(path)} lacks {name!r}, one of {expected}")
        chosen = node.value[name].node
        return owners[_choice(owners, chosen, _join(path, name))]
    raise TypeError(f"{path}: no Literal field tells {[m.__name__ for m in members]} apart")


def _variant(cls: type, node: Node, path: str) -> type:
    """The dataclass that the mapping is of, where `cls` stands for several."""
    if not hasattr(cls, "variants") or not isinstance(node.value, dict):
        return cls
    name, classes = cls.variants()
    if name not in node.value:
        raise UsageError(
            f"{node.where}: {_at(path)} lacks {name!r}, one of {', '.join(map(repr, classes))}"
        )
    chosen: type = classes[_choice(classes, node.value[name].node, _join(path, name))]
    return chosen


def _dataclass(cls: type[T], node: Node, path: str) -> T:
    if not isinstance(node.value, dict):
        raise _expected("a mapping", node, path)
    if before_build := getattr(cls, "before_build", None):
        before_build(node)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls)) if f.init}
    for key, entry in node.value.items():
        if key not in fields:
            hint = _did_you_mean(key, fields) or "; known keys: " + ", ".join(fields)
            raise UsageError(f"{entry.where}: unknown key {key!r} in {_at(path)}{hint}")
    hints = typing.get_type_hints(cls)
    values = {
        key: _convert(hints[key], entry.node, _join(path, key)) for key, entry in node.value.items()
    }
    for name, field in fields.items():
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if name not in values and not has_default:
            raise UsageError(f"{node.where}: {_at(path)} lacks {name!r} ({_name(hints[name])})")
    try:
        return cls(**values)
    except ValueError as error:
        where = _blame(str(error), node.value) or node.where
        prefix = f"{path}: " if path else ""
        raise UsageError(f"{where}: {prefix}{error}") from error


def _blame(message: str, entries: dict[str, Entry]) -> str | None:
    """The place of the setting that a message of `__post_init__` begins with or names first."""
    if where := place_of(Node(entries, ""), message):
        return where
    for word in re.findall(r"\w+", message):
        if word in entries:
            return entries[word].where
    return None


def _did_you_mean(word: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else None


def _name(hint: Any) -> str:
    """What a hint expects, in words."""
    origin = typing.get_origin(hint)
    if hint in NAMES:
        return NAMES[hint]
    if origin is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(_name(member) for member in typing.get_args(hint))
    if _is_enum(hint):
        return "one of " + ", ".join(repr(member.value) for member in hint)
    return "a list" if origin is tuple else "a mapping"


def _expected(name: str, node: Node, path: str) -> UsageError:
    value = node.value
    quote = name == "text" and not isinstance(value, list | dict | None)
    unquote = name in (NAMES[int], NAMES[float], NAMES[bool]) and isinstance(value, str)
    hint = "; quote it" if quote else "; remove the quotes" if unquote and _is_quoted(value) else ""
    return UsageError(f"{node.where}: {_at(path)} is {_plain(value)}; expected {name}{hint}")


def _is_quoted(value: Any) -> bool:
    """Whether text looks like a number or truth value, so only quotes can have made it text."""
    return bool(re.fullmatch(r"true|false|[-+.0-9eE_]+", value))


def _plain(value: Any) -> str:
    """A value as its writer knows it: YAML's words, not Python's."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _is_enum(hint: Any) -> bool:
    return (
        typing.get_origin(hint) is None and isinstance(hint, type) and issubclass(hint, enum.Enum)
    )


def _at(path: str) -> str:
    return path or "the top level"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
