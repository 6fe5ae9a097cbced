"""A page: a head, sections, and a style of its own; one file that needs nothing else."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from limbeck.pages.markup import Markup, element
from limbeck.pages.style import STYLE
from limbeck.records.files import atomic_write

__all__ = ["Page", "Section", "figure_row", "notes", "page_html", "write_page"]

# Nothing is fetched, run or framed, whatever a record's text holds; escaping is the first guard.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page with a heading."""

    title: str
    """Its heading."""
    body: Sequence[str]
    """Markup as it is; a plain string is a paragraph."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page."""

    title: str
    """Its heading and the name of its tab."""
    lead: str
    """What it is about, in a sentence or two."""
    sections: Sequence[Section]
    """Its parts, in order."""
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """Name and value of what stands at the top."""
    foot: str = ""
    """Who made it, of what."""


def page_html(page: Page) -> str:
    """Returns the page as one HTML document, ASCII only, so that no encoding can spoil it."""
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, page.title),
        element("style", None, Markup(STYLE)),
    )
    links = [
        element("a", {"href": f"#part{number}"}, section.title)
        for number, section in enumerate(page.sections)
    ]
    facts = [
        element("div", None, element("dt", None, n), element("dd", None, v)) for n, v in page.facts
    ]
    body = element(
        "body",
        None,
        element(
            "header",
            None,
            element("h1", None, page.title),
            element("p", {"class": "lead"}, page.lead),
            element("dl", {"class": "facts"}, *facts) if facts else "",
            element("nav", {"aria-label": "Sections"}, *links) if len(links) > 1 else "",
        ),
        element("main", None, *(_section(n, s) for n, s in enumerate(page.sections))),
        element("footer", None, page.foot) if page.foot else "",
    )
    document = f"<!DOCTYPE html>\n{element('html', {'lang': 'en'}, head, body)}\n"
    return document.encode("ascii", "xmlcharrefreplace").decode("ascii")


def write_page(path: str | os.PathLike[str], page: Page) -> None:
    """Writes a page whole or not at all.

    Raises:
      LimbeckError: the disk is full.
      OSError: it cannot be written there.
    """
    atomic_write(path, page_html(page).encode("ascii"))


def figure_row(*figures: Markup) -> Markup:
    """Returns figures side by side where there is room, else one below the other."""
    return element("div", {"class": "row"}, *figures)


def notes(lines: Sequence[object]) -> Markup:
    """Returns a list of short remarks."""
    return element("ul", {"class": "notes"}, *(element("li", None, line) for line in lines))


def _section(number: int, section: Section) -> Markup:
    parts = [
        part if isinstance(part, Markup) else element("p", None, part) for part in section.body
    ]
    heading = element("h2", {"id": f"part{number}"}, section.title)
    return element("section", {"aria-labelledby": f"part{number}"}, heading, *parts)
