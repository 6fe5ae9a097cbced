"""Where in a settings file a message belongs that was raised after the file was read.

Late checks (against manifests, models, other settings) know paths such as `objective[2].weight`, or
a directory that the file names, but no lines. Settings that were read from YAML remember their tree
(`remember`), and `placed` puts file and line in front of an error that passes through it.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.config.located import Entry, Node

__all__ = ["place_of", "placed", "remember", "remembered"]

PATH = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[\d+\])*")
STEP = re.compile(r"[\w-]+")
ATTRIBUTE = "_limbeck_tree"


def place_of(root: Node, message: str) -> str | None:
    """The place that a message is about; None where it names nothing of the tree.

    Args:
      root: settings as they were read.
      message: begins with the path of a setting, of which the deepest part that was written down
        counts (`objective[2].temperature is 3, ...`), or with a text value of the tree, such as a
        directory (`data/labels: no such directory`), or has one in parentheses.
    """
    found = PATH.match(message)
    if found is not None and not message.startswith("/", found.end()):
        where = _deepest(root, STEP.findall(found.group()))
        if where is not None:
            return where
    return _of_value(root, message)


def remember(settings: Any, root: Node) -> None:
    """Keeps the tree that settings were built from, for `placed`."""
    object.__setattr__(settings, ATTRIBUTE, root)  # they are frozen; equality does not see it


def remembered(settings: Any) -> Node | None:
    """The tree that settings were built from; None where they were made in Python."""
    root: Node | None = getattr(settings, ATTRIBUTE, None)
    return root


@contextlib.contextmanager
def placed(settings: Any) -> Iterator[None]:
    """Puts file and line in front of a UsageError raised inside, where settings know them."""
    try:
        yield
    except UsageError as error:
        root = remembered(settings)
        where = None if root is None else place_of(root, str(error))
        if where is None:
            raise
        raise UsageError(f"{where}: {error}") from error


def _deepest(node: Node, steps: list[str]) -> str | None:
    """The place of the last of the steps that is there; None where not even the first is."""
    where = None
    for step in steps:
        child: Entry | Node | None = None
        if isinstance(node.value, dict):
            child = node.value.get(step)
        elif isinstance(node.value, list) and step.isdecimal() and int(step) < len(node.value):
            child = node.value[int(step)]
        if child is None:
            break
        where = child.where
        node = child.node if isinstance(child, Entry) else child
    return where


def _of_value(root: Node, message: str) -> str | None:
    """The place of the longest text value, such as a directory, that the message is about."""
    best = (0, "")
    for node in _leaves(root):
        if isinstance(node.value, str) and _is_about(message, node.value):
            best = max(best, (len(node.value), node.where), key=lambda pair: pair[0])
    return best[1] or None


def _is_about(message: str, text: str) -> bool:
    if text and message.startswith(text):
        ends = message[len(text) : len(text) + 1]
        return ends in (":", "/", ",") or (ends == " " and "/" in text)
    return "/" in text and any(f"({text}{end}" in message for end in (")", "/"))


def _leaves(node: Node) -> Iterator[Node]:
    if isinstance(node.value, dict):
        for entry in node.value.values():
            yield from _leaves(entry.node)
    elif isinstance(node.value, list):
        for item in node.value:
            yield from _leaves(item)
    else:
        yield node
