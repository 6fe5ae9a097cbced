"""Abbreviations by language, from `abbreviations.json`.

`before_more` never ends a sentence (titles, months, what stands before a number or a name);
`may_end` ends one where a capital follows. All in lower case, without the last full stop and
without spaces: the German "z. B." is `z.b`.
"""

import functools
import importlib.resources
import json
from dataclasses import dataclass

__all__ = ["Abbreviations", "abbreviations_of"]


@dataclass(frozen=True, kw_only=True)
class Abbreviations:
    """Those of one language."""

    before_more: frozenset[str]
    """Followed by more of the sentence."""
    may_end: frozenset[str]
    """Followed by either."""


@functools.cache
def abbreviations_of(language: str) -> Abbreviations:
    """Returns the abbreviations of a language; none for one without a table."""
    entry = _table().get(language, {})
    return Abbreviations(
        before_more=frozenset(entry.get("before_more", "").split()),
        may_end=frozenset(entry.get("may_end", "").split()),
    )


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    text = importlib.resources.files("prep").joinpath("abbreviations.json").read_text("utf-8")
    table: dict[str, dict[str, str]] = json.loads(text)
    return table
