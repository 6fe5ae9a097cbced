"""The arguments of a template call, as a rule sees them."""

import re
from dataclasses import dataclass

from prep.wikitext.marks import HOLE

__all__ = ["Arguments", "parse_arguments"]

_SPLIT = re.compile(r"\[\[|\]\]|\|")
_NAMED = re.compile(r"\s*([^=\[\]<>\n]{0,40}?)\s*=")


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call passes."""

    positional: tuple[str, ...]
    """Unnamed ones and those named by numbers, in order, stripped."""
    named: dict[str, str]
    """Lower-case name -> value, stripped."""

    def at(self, number: int) -> str:
        """Returns the positional argument of a number from 1, or nothing."""
        return self.positional[number - 1] if 0 < number <= len(self.positional) else ""

    def first(self, *names: str | int) -> str:
        """Returns the first of some arguments that says something."""
        values = (self.at(n) if isinstance(n, int) else self.named.get(n, "") for n in names)
        return next((value for value in values if value.strip(HOLE)), "")


def parse_arguments(content: str) -> Arguments:
    """Parses what stands between a template's braces; bars inside links part nothing."""
    parts = _split(content) if "[[" in content else content.split("|")
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in parts[1:]:
        name = _NAMED.match(part)
        if name is None:
            positional.append(part.strip())
        elif (key := name[1].lower()) == str(len(positional) + 1):
            positional.append(part[name.end() :].strip())
        else:
            named[key] = part[name.end() :].strip()
    return Arguments(tuple(positional), named)


def _split(content: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for match in _SPLIT.finditer(content):
        token = match.group()
        if token == "[[":
            depth += 1
        elif token == "]]":
            depth = max(0, depth - 1)
        elif not depth:
            parts.append(content[start : match.start()])
            start = match.end()
    parts.append(content[start:])
    return parts
