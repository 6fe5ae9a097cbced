"""A page's wikitext -> sections of paragraphs: the steps in order, and the lines at the end."""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prep.languages import names_of
from prep.wikitext.inline import (
    drop_quotes,
    drop_switches,
    pick_variants,
    show_entities,
    show_tags,
    tidy,
)
from prep.wikitext.islands import drop_islands
from prep.wikitext.links import LinkNames, show_links
from prep.wikitext.marks import HOLE, ITEM, strip_marks, unprotect
from prep.wikitext.templates import Rules

__all__ = ["Section", "parse_sections"]

_LIST_MARKS = "*#:;"
_TERM = re.compile(r"\s:\s?")  # between a term and its meaning on one line
_LETTER = re.compile(r"[^\W\d_]")
_HEADING_END = re.compile(rf"[\s{HOLE}]+$")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and the prose up to the next heading."""

    heading: str
    """Text of the heading; empty for the lead."""
    level: int
    """Number of equals signs, 1 to 6; 0 for the lead."""
    paragraphs: tuple[str, ...]
    """Prose, one paragraph each, without line breaks."""


def parse_sections(
    wikitext: str,
    *,
    language: str = "en",
    dropped_namespaces: Iterable[str] = (),
    keep_lists: bool = True,
) -> list[Section]:
    """Parses a page into its sections, in order; sections without prose are kept, empty.

    Args:
      wikitext: the page as it is stored.
      language: of the wiki; names and formatting templates depend on it.
      dropped_namespaces: lower-case prefixes of links to files and categories that the wiki has
        beside those of its language.
      keep_lists: whether the items of lists are prose.
    """
    names = names_of(language)
    dropped = names.file | names.category | frozenset(dropped_namespaces)
    text = drop_islands(strip_marks(wikitext), rules=_rules(language))
    text = show_links(pick_variants(text, language=language), names=LinkNames(dropped=dropped))
    text = drop_switches(show_tags(text), names=names.switch)
    return list(_sections(text, keep_lists=keep_lists))


@functools.lru_cache(maxsize=16)
def _rules(language: str) -> Rules:
    return Rules(language)


def _sections(text: str, *, keep_lists: bool) -> Iterator[Section]:
    heading, level = "", 0
    paragraphs: list[str] = []
    lines: list[str] = []
    for line in text.split("\n"):
        if "''" in line:
            line = drop_quotes(line)
        if line[:1] == HOLE and (rest := line.lstrip(HOLE))[:1] == "=":  # an anchor before it
            line = rest
        first = line[:1]
        if first == "=" and (found := _heading(line)):
            _end_paragraph(lines, paragraphs)
            yield Section(heading=heading, level=level, paragraphs=tuple(paragraphs))
            level, heading = found
            paragraphs = []
        elif first in _LIST_STARTS:
            _end_paragraph(lines, paragraphs)
            if keep_lists:
                lines.append(_item(line))
                _end_paragraph(lines, paragraphs)
        elif first == "|" or _is_blank(line):
            # A bar begins a row of a table or template that lost its start or its end.
            _end_paragraph(lines, paragraphs)
        else:
            lines.append(line)
    _end_paragraph(lines, paragraphs)
    yield Section(heading=heading, level=level, paragraphs=tuple(paragraphs))


_LIST_STARTS = frozenset((*_LIST_MARKS, ITEM))


def _is_blank(line: str) -> bool:
    return not line.strip(f" \t\r{HOLE}") or line.startswith("----")


def _heading(line: str) -> tuple[int, str] | None:
    """Returns level and text of `== text ==`, or None for a line that is no heading."""
    bare = line.rstrip(f" \t\r{HOLE}")
    left = len(bare) - len(bare.lstrip("="))
    right = len(bare) - len(bare.rstrip("="))
    level = min(left, right, 6, (len(bare) - 1) // 2)
    if level < 1:
        return None
    return level, _one_line(bare[level:-level])


def _item(line: str) -> str:
    bare = line.lstrip(_LIST_MARKS + ITEM + " ")
    return _TERM.sub(" ", bare, count=1) if line[0] == ";" else bare


def _end_paragraph(lines: list[str], paragraphs: list[str]) -> None:
    if lines:
        text = _one_line(" ".join(lines))
        lines.clear()
        if _LETTER.search(text):
            paragraphs.append(text)


def _one_line(text: str) -> str:
    return unprotect(tidy(" ".join(show_entities(text).split())))
