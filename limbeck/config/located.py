"""YAML text -> a tree of plain values that know where they were written.

A subset of YAML, chosen so that what is read is what was meant. Plain (unquoted) scalars are:

  null, ~, nothing            null
  true, false                 truth values; yes, no, on, off, True ... are refused: quote them
  12, -3, 10_000              whole numbers; 010, 0x1F, 0o17, 1:30 are refused: quote them
  0.5, 5e-5, 1.               numbers; .inf and .nan are refused
  anything else               text, as is everything quoted

Anchors, aliases, tags, merge keys, keys that are not text and second documents are refused, each
with its line.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from limbeck.config.errors import UsageError

__all__ = ["Entry", "Node", "Value", "from_plain_value", "parse_yaml", "read_scalar"]

MAX_DEPTH = 64  # a recipe has about 4 levels; thousands would exhaust Python's stack

Scalar = str | int | float | bool | None
Value = Scalar | list["Node"] | dict[str, "Entry"]

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|[1-9][0-9]{0,2}(_[0-9]{3})+)")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
NULLS = ("", "~", "null")
# What YAML 1.1 or 1.2 readers understand in different ways, and we therefore do not.
AMBIGUOUS = re.compile(
    r"[-+]?0[0-9_]+|[-+]?0[xobXOB][0-9a-fA-F_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?"
    r"|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|True|TRUE|False|FALSE|Null|NULL"
)


@dataclass(frozen=True)
class Node:
    """A value and the place it came from."""

    value: Value
    """Scalar, list of nodes, or mapping of entries."""

    where: str
    """Such as `recipe.yaml:14`; goes before every message about the value."""


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a mapping."""

    where: str
    """Place of the key."""

    node: Node
    """The value."""


def parse_yaml(text: str, *, name: str, numbered: bool = True) -> Node:
    """Reads one YAML document; nothing at all is an empty mapping.

    Args:
      text: the document.
      name: what to call it in messages.
      numbered: whether places are `name:line`, or `name` alone (a value on the command line).

    Raises:
      UsageError: bad syntax or something outside the subset, with its place.
    """

    def place(line: int) -> str:
        return f"{name}:{line}" if numbered else name

    try:
        root = _Composer(text).get_single_node()
    except yaml.reader.ReaderError as error:
        # Its position is an index into the text for str input.
        line = text.count("\n", 0, error.position) + 1
        problem = f"character {chr(error.character)!r} is not allowed"
        raise UsageError(f"{place(line)}: {problem}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, [error.context, error.problem])) or "not YAML"
        raise UsageError(f"{place(_line(mark))}: {problem}") from error
    if root is None:
        return Node({}, place(1))
    return _convert(root, place)


def read_scalar(text: str) -> Scalar:
    """Returns the value of a plain scalar.

    Raises:
      ValueError: YAML readers disagree about it, or the number is not finite.
    """
    if text in NULLS:
        return None
    if text in ("true", "false"):
        return text == "true"
    if INTEGER.fullmatch(text):
        return int(text)
    if AMBIGUOUS.fullmatch(text):
        meant = "a finite number" if "." in text else "true, false or a decimal number"
        raise ValueError(f"{text!r} is ambiguous: write {meant}, or quote it if it is text")
    if NUMBER.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"{text!r} is too large for a number")
        return number
    return text


def from_plain_value(value: Any, *, where: str) -> Node:
    """Wraps JSON-like values (dict, list, tuple, scalars), all written at `where`."""
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise UsageError(f"{where}: key {wrong[0]!r} is not text")
        entries = {
            key: Entry(where, from_plain_value(item, where=where)) for key, item in value.items()
        }
        return Node(entries, where)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node([from_plain_value(item, where=where) for item in value], where)
    if value is None or isinstance(value, str | int | float | bool):
        return Node(value, where)
    raise UsageError(f"{where}: {value!r} of type {type(value).__name__} is not a plain value")


class _Composer(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML up to nodes with positions, without its constructors or its guesses about scalars."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses what nodes no longer show: aliases, anchors, tags and endless nesting."""
        event = self.peek_event()
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = f"alias '*{event.anchor}' is not supported; write the value out"
        elif event.anchor is not None:
            problem = f"anchor '&{event.anchor}' is not supported; write the value out"
        elif event.tag is not None:
            problem = f"tag {event.tag!r} is not supported; remove it"
        elif self.depth >= MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} levels deep"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _line(mark: Any) -> int:
    return mark.line + 1 if mark is not None else 1


def _convert(node: yaml.Node, place: Callable[[int], str]) -> Node:
    """A composed PyYAML node as ours."""
    where = place(_line(node.start_mark))
    if isinstance(node, yaml.ScalarNode):
        if node.style is not None:
            return Node(node.value, where)
        try:
            return Node(read_scalar(node.value), where)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from error
    if isinstance(node, yaml.SequenceNode):
        return Node([_convert(item, place) for item in node.value], where)
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key = _convert(key_node, place)
        if not isinstance(key.value, str):
            raise UsageError(f"{key.where}: a key must be text; quote it")
        if key.value in entries:
            first = entries[key.value].where
            raise UsageError(f"{key.where}: key {key.value!r} is repeated; first at {first}")
        entries[key.value] = Entry(key.where, _convert(value_node, place))
    return Node(entries, where)
