"""Wikitext -> prose paragraphs under their headings.

Kept: running text, the visible part of links, the content of style tags and of block quotes.
Dropped: templates, tables, references, files and images, categories and interlanguage links,
mathematics and other islands in a notation of their own, and comments. Headings are not prose
either, but are kept beside it. Each item of a list is a paragraph, as in the published Wikipedia
data sets; BERT itself left lists out (Devlin et al. 2019, section 3.1), which is an option.

`mwparserfromhell` does the parsing. It needs seconds to for ever on some pages, so this module is
only to be called behind `prep.guard`.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import mwparserfromhell
from mwparserfromhell import nodes

__all__ = ["CLEANER", "DROPPED_NAMESPACES", "Section", "parse_sections"]

_RULES_VERSION = 1  # raise it with every change of this module that changes any text
CLEANER = (
    f"limbeck-wikitext {_RULES_VERSION}, "
    f"mwparserfromhell {importlib.metadata.version('mwparserfromhell')}"
)
"""Name and version of the rules; part of what a dataset's content depends on."""

DROPPED_NAMESPACES = frozenset({"file", "image", "media", "category"})
"""Prefixes of links that show nothing or a picture; a wiki's own names come from its dump."""

# Tags whose content is no prose.
_DROPPED_TAGS = frozenset(
    "ref references table math chem ce gallery timeline score syntaxhighlight source pre hiero "
    "imagemap graph mapframe maplink templatedata templatestyles includeonly style script "
    "categorytree inputbox section indicator".split()
)
_LIST_TAGS = frozenset({"ul", "ol", "dl"})
_ITEM_TAGS = frozenset({"li", "dd", "dt"})  # also what `*`, `#`, `:` and `;` become
_LINE_TAGS = frozenset({"hr", "p", "div", "blockquote", "center", "poem"})

_BREAK = "\n\n"
# Begins a list item, which ends with its line: its content follows its tag as plain siblings.
# Private use; taken out of the wikitext before.
_LIST_MARK = "\ue000"

_INTERLANGUAGE = re.compile(r"(?:[a-z]{2,3}|simple)(?:-[a-z-]+)?:\S")
_QUOTES = re.compile(r"'{2,}")
_MAGIC_WORD = re.compile(r"__[A-Z]{3,}__")
# What an unbalanced page leaves of its markup: such a line is no prose, but tags can be taken out.
_RESIDUE = re.compile(r"\{\{|\}\}|\{\||\|\}|\[\[|\]\]|^\s*[|!]")
_LEFTOVER_TAG = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_SPACE = re.compile(r"[^\S\n]+")
# What a dropped template or reference leaves behind: "(; 1809)", "( )", "word ,". Every pattern is
# linear: the look-behind keeps a run of colons from being scanned once for each of them.
_TIDY = (
    (re.compile(r"\([\s,;:]+"), "("),
    (re.compile(r"(?<![\s,;:])[\s,;:]+\)"), ")"),
    (re.compile(r"\s?\(\)"), ""),
    (re.compile(r"\s,"), ","),
    (re.compile(r"\s\.(?=\s|$)"), "."),
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and the prose up to the next heading."""

    heading: str
    """Text of the heading; empty for the lead."""
    level: int
    """Number of equals signs, 1 to 6; 0 for the lead."""
    paragraphs: tuple[str, ...]
    """Prose, one paragraph each, without line breaks."""


@dataclass(frozen=True, kw_only=True)
class _Rules:
    namespaces: frozenset[str]
    """Prefixes of links that are dropped."""
    tags: frozenset[str]
    """Tags that are dropped with their content."""
    keep_lists: bool


def parse_sections(
    wikitext: str,
    *,
    dropped_namespaces: Iterable[str] = DROPPED_NAMESPACES,
    keep_lists: bool = True,
) -> list[Section]:
    """Parses a page into its sections, in order; sections without prose are kept, empty.

    Args:
      wikitext: the page as it is stored.
      dropped_namespaces: lower-case prefixes of links to files and categories.
      keep_lists: whether the items of lists are prose.
    """
    rules = _Rules(
        namespaces=frozenset(dropped_namespaces),
        tags=_DROPPED_TAGS if keep_lists else _DROPPED_TAGS | _LIST_TAGS,
        keep_lists=keep_lists,
    )
    tree = mwparserfromhell.parse(wikitext.replace(_LIST_MARK, ""), skip_style_tags=True)
    sections: list[Section] = []
    heading, level, pieces = "", 0, []  # type: str, int, list[str]
    for node in tree.nodes:
        if isinstance(node, nodes.Heading):
            sections.append(_section(heading, level, pieces, rules))
            heading = _one_line("".join(_visible(node.title, rules)))
            level, pieces = node.level, []
        else:
            pieces.extend(_node_text(node, rules))
    sections.append(_section(heading, level, pieces, rules))
    return sections


def _section(heading: str, level: int, pieces: list[str], rules: _Rules) -> Section:
    paragraphs = tuple(_paragraphs("".join(pieces), rules))
    return Section(heading=heading, level=level, paragraphs=paragraphs)


def _visible(code: Any, rules: _Rules) -> Iterator[str]:
    """Yields what a reader sees of a piece of wikicode (None is nothing)."""
    for node in code.nodes if code is not None else ():
        yield from _node_text(node, rules)


def _node_text(node: Any, rules: _Rules) -> Iterator[str]:
    if isinstance(node, nodes.Text):
        yield node.value
    elif isinstance(node, nodes.Wikilink):
        yield from _link_text(node, rules)
    elif isinstance(node, nodes.ExternalLink):
        if node.brackets and node.title is not None:
            yield from _visible(node.title, rules)
    elif isinstance(node, nodes.Tag):
        yield from _tag_text(node, rules)
    elif isinstance(node, nodes.HTMLEntity):
        yield _entity_text(node)
    elif isinstance(node, nodes.Heading):  # inside a tag
        yield _BREAK
    # Templates, arguments and comments show nothing.


def _link_text(node: Any, rules: _Rules) -> Iterator[str]:
    target = str(node.title).strip()
    prefix, colon, _ = target.partition(":")
    if colon and prefix.strip().lower().replace("_", " ") in rules.namespaces:
        return
    if node.text is None and _INTERLANGUAGE.match(target):
        return
    if node.text is not None and str(node.text).strip():
        yield from _visible(node.text, rules)
    else:
        # A leading colon makes a link to a file or category visible, and is not shown.
        yield "".join(_visible(node.title, rules)).strip().removeprefix(":")


def _tag_text(node: Any, rules: _Rules) -> Iterator[str]:
    name = str(node.tag).strip().lower()
    if name in _ITEM_TAGS:
        yield from _item_text(node, rules)
    elif name == "br":
        yield " "
    elif name in _LINE_TAGS:
        yield _BREAK
        yield from _visible(node.contents, rules)
        yield _BREAK
    elif name == "nowiki":
        yield str(node.contents)
    elif name not in rules.tags:
        yield from _visible(node.contents, rules)


def _item_text(node: Any, rules: _Rules) -> Iterator[str]:
    if node.wiki_markup:
        yield _LIST_MARK
    elif rules.keep_lists:
        yield _BREAK + _LIST_MARK
        yield from _visible(node.contents, rules)
        yield _BREAK


def _entity_text(node: Any) -> str:
    try:
        text: str = node.normalize()
    except (ValueError, OverflowError):  # a number that is no character
        return ""
    return "" if "\ud800" <= text <= "\udfff" else text


def _paragraphs(text: str, rules: _Rules) -> Iterator[str]:
    """Yields the prose paragraphs of visible text; blank lines, items and residue part them."""
    lines: list[str] = []
    for line in text.split("\n"):
        is_item = _LIST_MARK in line
        is_prose = bool(line.strip()) and not _RESIDUE.search(line)
        if is_prose and not is_item:
            lines.append(line)
            continue
        yield from _paragraph(lines)
        lines = []
        if is_prose and rules.keep_lists:
            yield from _paragraph([line])
    yield from _paragraph(lines)


def _paragraph(lines: list[str]) -> Iterator[str]:
    text = _one_line(" ".join(lines))
    if any(character.isalpha() for character in text):
        yield text


def _one_line(text: str) -> str:
    text = _QUOTES.sub(_literal_quotes, text)
    text = _LEFTOVER_TAG.sub("", _MAGIC_WORD.sub("", text)).replace(_LIST_MARK, " ")
    text = _SPACE.sub(" ", text.replace("\n", " "))
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text.strip()


def _literal_quotes(match: re.Match[str]) -> str:
    """Drops the quotes that mean italic (2), bold (3) or both (5); what is over is text."""
    length = len(match.group())
    return "'" * (length - 5 if length > 5 else length == 4)
