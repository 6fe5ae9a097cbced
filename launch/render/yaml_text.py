"""YAML that every reader takes for the same values."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["yaml_text"]

# What no YAML reader takes for anything but these letters; all else is quoted. Readers differ in
# what they take for numbers, dates and truth values: `y`, `1_0`, `1:30`, `0o7`.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[./-][A-Za-z0-9]+)*")
_NOT_WORDS = frozenset("y n yes no on off true false null inf nan".split())


class _Dumper(yaml.SafeDumper):
    """PyYAML's own, with quotes wherever a string could be anything else, and no references."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes equal parts out each time: some readers do not follow references."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indents lists below their key, as such files are usually written."""
        super().increase_indent(flow, False)


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _WORD.fullmatch(text) and text.lower() not in _NOT_WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _string)


def yaml_text(document: Mapping[str, Any]) -> str:
    """Returns a document as YAML text, its keys in the order given."""
    return yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=False
    )
