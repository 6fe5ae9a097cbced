"""Finds the pages in a text and parses each by itself.

A page is what begins with its start tag and goes up to its end tag, or to the next start tag when
the end is missing. Between pages there is white space, and behind the last one the end of the
export. Everything else is reported:

    bad_xml      a page that is no XML, or has no end tag
    bad_block    a page, or a range of the file, that ends in compressed data that is damaged
    not_a_page   text between pages

The text comes in pieces, each with the place it is from. A piece that is not ours only completes
the page before it: `is_done` says when that is over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from limbeck.config.errors import LimbeckError
from prep.mediawiki import Page, PageParser, Site

__all__ = ["Cutter", "Lost", "Place"]

_MAX_GAP = 1 << 12  # bytes that are kept of what stands between pages


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a piece of text is from."""

    begin: int
    """First byte of its unit in the file."""
    end: int
    """Behind the last byte of its unit."""
    is_ours: bool
    """Whether pages that begin in it are wanted."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A part of an export that holds pages which cannot be read, nobody knows how many."""

    reason: str
    """In one word."""
    begin: int
    """First byte in the file."""
    end: int
    """Behind the last byte."""
    detail: str
    """More about the reason."""


class Cutter:
    """Text in pieces -> pages."""

    def __init__(self, *, path: str, tag: str, site: Site) -> None:
        """Takes the export's path, for messages, the name of its page elements, and the wiki."""
        self._path = path
        self._site = site
        self._tag = tag
        name = re.escape(tag).encode()
        root = re.escape(tag.removesuffix("page") + "mediawiki").encode()
        self._find = re.compile(rb"<(/?)" + name + rb"(?=[\s/>])")
        self._between = re.compile(rb"\s*>\s*(</" + root + rb"\s*>.*)?", re.DOTALL)
        self._starts = [b"<" + tag.encode(), b"</" + tag.encode()]
        self._held = b""  # the end of the last piece, if a tag may begin in it
        self._held_place: Place | None = None
        self._page: PageParser | None = None  # the page that we are in
        self._last = (-1, -1)  # unit and number of the last page
        self._gap: bytes | None = None  # what stands behind the last page; None before the first
        self._gap_place: Place | None = None
        self.is_done = False
        """Whether a page has begun that is not ours."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing of ours waits for its end."""
        return self._page is None and self._gap is None and not self._held

    def feed(self, data: bytes, place: Place) -> Iterator[Page | Lost]:
        """Reads on; yields what has ended."""
        num_held = len(self._held)
        data = self._held + data
        keep = self._tag_begins_at(data)
        at = 0
        for tag in self._find.finditer(data, 0, len(data)):
            self._text(data[at : tag.start()])
            begins = self._held_place if tag.start() < num_held else place
            assert begins is not None
            if tag[1]:
                yield from self._page_ends(begins)
                at = tag.end()
            else:
                yield from self._page_begins(begins)
                at = tag.start()
            if self.is_done:
                return
        self._text(data[at:keep])
        if keep >= num_held:  # else the same tag is still incomplete
            self._held_place = place
        self._held = data[keep:]

    def damage(self, place: Place, detail: str) -> Iterator[Page | Lost]:
        """Takes note that the text of a unit is missing."""
        if self._page is not None:
            where = f"the bytes {place.begin} to {place.end} of the file are damaged"
            yield self._page.broken("bad_block", where)
        yield from self._leave_gap()
        self._page, self._gap, self._held = None, None, b""
        if place.is_ours:
            yield Lost(reason="bad_block", begin=place.begin, end=place.end, detail=detail)
        else:
            self.is_done = True

    def finish(self) -> Iterator[Page | Lost]:
        """Takes note that the file has ended.

        Raises:
          LimbeckError: it has ended too early.
        """
        self._text(self._held)
        if self._page is not None:
            page = self._page.broken("", "")
            raise LimbeckError(
                f"{self._path}: cut off in the middle of page {page.page_id} "
                f"({page.title[:80]!r}); fetch it again"
            )
        if self._gap is not None:
            match = self._between.fullmatch(self._gap)
            if match and not match[1]:
                raise LimbeckError(
                    f"{self._path}: cut off: its end tag </mediawiki> is missing; fetch it again"
                )
            yield from self._leave_gap()

    def _tag_begins_at(self, data: bytes) -> int:
        """Returns where a tag begins that the next piece may complete; else the end."""
        at = data.rfind(b"<", max(0, len(data) - len(self._starts[1])))
        if at >= 0 and any(start.startswith(data[at:]) for start in self._starts):
            return at
        return len(data)

    def _text(self, text: bytes) -> None:
        if self._page is not None:
            self._page.feed(text)
        elif self._gap is not None:
            room = max(0, _MAX_GAP - len(self._gap))
            self._gap += text[:room] + text[room:].strip()[:1]

    def _page_begins(self, place: Place) -> Iterator[Page | Lost]:
        if self._page is not None:
            yield self._page.broken("bad_xml", "its end tag is missing")
        yield from self._leave_gap()
        self._page = None
        if place.is_ours:
            begin, index = self._last
            self._last = (place.begin, index + 1 if place.begin == begin else 0)
            self._page = PageParser(
                self._site, tag=self._tag, begin=place.begin, index=self._last[1]
            )
        else:
            self.is_done = True

    def _page_ends(self, place: Place) -> Iterator[Page | Lost]:
        if self._page is not None:
            yield self._page.finish()
            self._page, self._gap, self._gap_place = None, b"", place
        else:
            self._text(b"</page")

    def _leave_gap(self) -> Iterator[Lost]:
        """Looks at what stood between two pages."""
        if self._gap is not None and not self._between.fullmatch(self._gap):
            assert self._gap_place is not None
            text = self._gap.partition(b">")[2].strip()[:200].decode(errors="replace")
            yield Lost(
                reason="not_a_page",
                begin=self._gap_place.begin,
                end=self._gap_place.end,
                detail=f"between two pages stands {text!r}",
            )
        self._gap = None
