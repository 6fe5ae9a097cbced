"""What the wikis of each language call things: names that decide how wikitext reads.

`names.json` holds, for each language code of MediaWiki, the lower-case names and aliases of the
namespaces File (with Media) and Category, the words that make a page a redirect, the behaviour
switches (`__NOTOC__`), and `also`: the languages whose names are understood as well (fallbacks and
script variants). They are facts collected from MediaWiki 1.39's message files. The names of
reference-list templates are those of the large wikis, known to us and not complete.

`templates.json` holds the templates that format a piece of a sentence, for all wikis and for single
languages; `prep.wikitext.templates` says what its rows mean.
"""

import functools
import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["SiteNames", "formatting_templates", "names_of"]

_KINDS = ("file", "category", "redirect", "reference_list", "switch")


@dataclass(frozen=True, kw_only=True)
class SiteNames:
    """Names on the wikis of one language, lower-case, with spaces for underscores."""

    file: frozenset[str]
    """Prefixes of links to files and media: `file`, `image`, `datei`."""
    category: frozenset[str]
    """Prefixes of links to categories."""
    redirect: frozenset[str]
    """First words of a redirect page, with their number sign: `#redirect`."""
    reference_list: frozenset[str]
    """Templates that show the list of references."""
    switch: frozenset[str]
    """Words that between double underscores say how a page behaves, and show nothing; these keep
    their underscores."""


@functools.cache
def names_of(language: str) -> SiteNames:
    """Returns the names on the wikis of one language; English ones always work too.

    Args:
      language: a code such as `de` or `pt-br`, any case; an unknown one is tried without its last
        part, and then has the English names only.
    """
    code = language.lower().replace("_", "-")
    while code and code not in _table():
        code = code.rpartition("-")[0]
    found: dict[str, set[str]] = {kind: set() for kind in _KINDS}
    seen: set[str] = set()
    waiting = ["en", code]
    while waiting:
        code = waiting.pop()
        if code not in seen:
            seen.add(code)
            entry = _table().get(code, {})
            waiting.extend(entry.get("also", ()))
            for kind in _KINDS:
                found[kind].update(entry.get(kind, ()))
    return SiteNames(**{kind: frozenset(words) for kind, words in found.items()})


def formatting_templates(language: str) -> list[tuple[str, list[Any], list[str]]]:
    """Returns rows of what to show, with what settings, and the lower-case names of templates.

    Args:
      language: a code; only its first part counts. Simple English is English.
    """
    table = _read("templates.json")
    code = language.partition("-")[0].lower()
    rows = [*table["everywhere"], *table.get("en" if code == "simple" else code, ())]
    return [(show, settings, names) for show, settings, names in rows]


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    return _read("names.json")


def _read(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(
        importlib.resources.files(__name__).joinpath(name).read_bytes()
    )
    return table
