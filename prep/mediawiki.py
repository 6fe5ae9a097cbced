"""What an XML export of MediaWiki says: events of an XML parser -> pages.

The export schema (0.3 to 0.11, with or without XML namespaces and prefixes) does not matter:
elements are known by their local names. Of several revisions the last one counts.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

__all__ = ["MARK", "MAX_PAGE_CHARACTERS", "Export", "Page", "Refused", "Site"]

MAX_PAGE_CHARACTERS = 16 << 20  # MediaWiki itself refuses pages beyond 2 MiB by default
MARK = "\U0001fffe"
"""Stands for what is not a character. It is a noncharacter that XML allows, so it passes the parser
and is found in the page that it came from."""

_MAX_PAGE_ID = (1 << 48) - 1  # what a record's key holds
_MAX_DEPTH = 64  # an export nests 6 deep
_REDIRECT = re.compile(r"\s*#redirect\s*:?\s*\[\[", re.IGNORECASE)

_PAGE = ("mediawiki", "page")
_REVISION = (*_PAGE, "revision")
_WANTED = frozenset(
    {(*_PAGE, name) for name in ("title", "ns", "id")}
    | {(*_REVISION, name) for name in ("model", "text")}
)
_NAMESPACE = ("mediawiki", "siteinfo", "namespaces", "namespace")


@dataclass(frozen=True, kw_only=True)
class Site:
    """What an export says about its wiki."""

    database: str
    """`dbname`, such as `enwiki`; empty in old schemas."""
    language: str
    """`xml:lang` of the root element, such as `en`; may be empty."""
    namespaces: dict[int, str]
    """Namespace number -> its name on this wiki."""

    def link_prefixes(self, *numbers: int) -> frozenset[str]:
        """Returns the lower-case names of some namespaces, as links to them begin."""
        names = (self.namespaces.get(number, "") for number in numbers)
        return frozenset(name.lower() for name in names if name)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The last revision of one page."""

    page_id: int
    """`id`; -1 when there is none that can be used."""
    title: str
    """`title`."""
    namespace: int
    """`ns`, or in old schemas what the title's prefix says."""
    is_redirect: bool
    """Whether there is a `redirect` element or the text begins with #REDIRECT."""
    model: str
    """Content model; `wikitext` where the schema has none."""
    text: str | None
    """Wikitext; None when it is missing or deleted."""
    problem: str = ""
    """Why this page cannot be used, in one word; empty for a sound page."""


class Refused(Exception):
    """The export breaks a rule of ours; the message lacks file and line."""


@dataclass
class _Draft:
    """A page while its elements come in."""

    fields: dict[str, str] = field(default_factory=dict)
    """Text of `title`, `ns`, `id`, `model` and `text`, as far as seen."""
    has_redirect: bool = False
    is_too_large: bool = False


class Export:
    """Handlers that turn XML events into pages."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        """Pages that have ended and were not taken away yet."""
        self.num_pages = 0
        """Pages that have ended."""
        self.seen_root = False
        """Whether the root element is there and the right one."""
        self.database = ""
        self.language = ""
        self.namespaces: dict[int, str] = {}
        self._path: tuple[str, ...] = ()
        self._draft: _Draft | None = None
        self._pieces: list[str] | None = None  # None: this element's text is not wanted
        self._num_characters = 0
        self._namespace = 0

    @property
    def site(self) -> Site:
        """What is known of the wiki so far."""
        return Site(database=self.database, language=self.language, namespaces=self.namespaces)

    @property
    def in_page(self) -> bool:
        """Whether a page has begun and not ended."""
        return self._draft is not None

    def attach(self, parser: expat.XMLParserType) -> None:
        """Makes the parser call these handlers."""
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_: Any) -> None:
        raise Refused(
            "has a DOCTYPE, which no MediaWiki export has; entity definitions are refused, "
            "since they can make a small file endless"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]  # an XML prefix says nothing here
        self._path = path = (*self._path, name)
        if len(path) > _MAX_DEPTH:
            raise Refused(f"elements are nested more than {_MAX_DEPTH} deep")
        self._pieces = None
        if len(path) == 1:
            self._root(name, attributes)
        elif path == _PAGE:
            self._draft = _Draft()
        elif path == _NAMESPACE:
            self._namespace = _number(attributes.get("key", ""), default=0)
            self._collect()
        elif path == ("mediawiki", "siteinfo", "dbname"):
            self._collect()
        elif self._draft is not None:
            self._page_element(path, attributes, self._draft)

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        if name != "mediawiki":
            raise Refused(f"not a MediaWiki export: the root element is <{name[:40]}>")
        self.seen_root = True
        self.language = attributes.get("xml:lang", "")

    def _page_element(
        self, path: tuple[str, ...], attributes: dict[str, str], draft: _Draft
    ) -> None:
        parent, name = path[:-1], path[-1]
        if path == _REVISION:
            for of_revision in ("text", "model"):
                draft.fields.pop(of_revision, None)
            draft.is_too_large = False
        elif parent == _PAGE and name == "redirect":
            draft.has_redirect = True
        elif path in _WANTED and not (name == "text" and "deleted" in attributes):
            self._collect()

    def _collect(self) -> None:
        self._pieces = []
        self._num_characters = 0

    def _characters(self, data: str) -> None:
        if self._pieces is None:
            return
        self._num_characters += len(data)
        if self._num_characters <= MAX_PAGE_CHARACTERS:
            self._pieces.append(data)
        elif self._draft is not None:
            self._draft.is_too_large = True
            self._pieces.clear()

    def _end(self, _: str) -> None:
        path, self._path = self._path, self._path[:-1]
        if self._pieces is not None:
            self._keep("".join(self._pieces), path[-1])
            self._pieces = None
        elif path == _PAGE and self._draft is not None:
            self.pages.append(self._page(self._draft))
            self.num_pages += 1
            self._draft = None

    def _keep(self, text: str, name: str) -> None:
        if self._draft is not None:
            self._draft.fields[name] = text
        elif name == "namespace":
            self.namespaces[self._namespace] = text
        else:
            self.database = text

    def _page(self, draft: _Draft) -> Page:
        title, text = draft.fields.get("title", ""), draft.fields.get("text")
        page_id = _number(draft.fields.get("id", ""), default=-1)
        problem = ""
        if draft.is_too_large:
            problem = "too_large"
        elif MARK in title or (text is not None and MARK in text):
            problem = "bad_characters"
        elif not 0 <= page_id <= _MAX_PAGE_ID:
            problem, page_id = "bad_id", -1
        return Page(
            page_id=page_id,
            title=title.replace(MARK, "\ufffd"),
            namespace=_number(draft.fields.get("ns", ""), default=self._namespace_of(title)),
            is_redirect=draft.has_redirect or _REDIRECT.match(text or "") is not None,
            model=draft.fields.get("model", "wikitext"),
            text=text,
            problem=problem,
        )

    def _namespace_of(self, title: str) -> int:
        prefix, colon, _ = title.partition(":")
        wanted = prefix.strip().replace("_", " ").lower()
        named = (n for n, name in self.namespaces.items() if name and name.lower() == wanted)
        return next(named, 0) if colon else 0


def _number(text: str, *, default: int) -> int:
    text = text.strip()
    # Bounded, since Python refuses to convert thousands of digits and no id has them.
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else default
