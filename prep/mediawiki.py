"""What an XML export of MediaWiki says: its head, and one page at a time.

The export schema (0.3 to 0.11, with or without XML namespaces and prefixes) does not matter:
elements are known by their local names. Of several revisions the latest by timestamp counts, of
equal ones or without timestamps the last.
"""

import functools
import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from prep.languages import names_of

__all__ = ["MARK", "MAX_PAGE_CHARACTERS", "HeadParser", "Page", "PageParser", "Refused", "Site"]

MAX_PAGE_CHARACTERS = 16 << 20  # MediaWiki itself refuses pages beyond 2 MiB by default
MARK = "\U0001fffe"
"""Stands for what is not a character. It is a noncharacter that XML allows, so it passes the parser
and is found in the page that it came from."""

_MAX_PAGE_ID = (1 << 48) - 1  # what a record's key holds
_MAX_DEPTH = 64  # an export nests 6 deep
_MAX_HEAD_FIELD = 1 << 16  # characters
_BUFFER_BYTES = 1 << 16
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

_PAGE = ("mediawiki", "page")
_REVISION = (*_PAGE, "revision")
_OF_PAGE = frozenset((*_PAGE, name) for name in ("title", "ns", "id"))
_OF_REVISION = frozenset((*_REVISION, name) for name in ("id", "timestamp", "model", "text"))
_NAMESPACE = ("mediawiki", "siteinfo", "namespaces", "namespace")
_DATABASE = ("mediawiki", "siteinfo", "dbname")


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
    """The latest revision of one page."""

    page_id: int
    """`id`; -1 when there is none that can be used."""
    title: str
    """`title`."""
    namespace: int
    """`ns`, or in old schemas what the title's prefix says."""
    is_redirect: bool
    """Whether there is a `redirect` element, or the text begins as a redirect of this language."""
    model: str
    """Content model; `wikitext` where the schema has none."""
    text: str | None
    """Wikitext; None when it is missing or deleted."""
    timestamp: str = ""
    """Of the revision; ISO 8601 in UTC, or empty."""
    revision_id: int = -1
    """Of the revision; -1 when there is none."""
    begin: int = 0
    """First byte, in the file, of the unit in which the page begins."""
    index: int = 0
    """Number, from 0, among the pages that begin in that unit."""
    problem: str = ""
    """Why this page cannot be used, in one word; empty for a sound page."""
    detail: str = ""
    """More about the problem."""


class Refused(Exception):
    """The export breaks a rule of ours; the message lacks the file."""


class _Elements:
    """Follows the path of elements and collects the text of those that are wanted."""

    def __init__(self) -> None:
        self._path: tuple[str, ...] = ()
        self._pieces: list[str] | None = None  # None: this element's text is not wanted
        self._num_characters = 0
        self._most_characters = _MAX_HEAD_FIELD
        # Expat's handlers keep this object alive and it keeps the parser: `_release` unties them.
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.buffer_size = _BUFFER_BYTES
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters

    def _release(self) -> None:
        parser = self._parser
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path = (*self._path, name.rpartition(":")[2])  # an XML prefix says nothing here
        if len(self._path) > _MAX_DEPTH:
            raise Refused(f"elements are nested more than {_MAX_DEPTH} deep")
        self._pieces = None
        self._element(self._path, name, attributes)

    def _element(self, path: tuple[str, ...], name: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def _ended(self, path: tuple[str, ...], text: str | None) -> None:
        raise NotImplementedError

    def _collect(self) -> None:
        self._pieces = []
        self._num_characters = 0

    def _characters(self, data: str) -> None:
        if self._pieces is not None:
            self._num_characters += len(data)
            if self._num_characters <= self._most_characters:
                self._pieces.append(data)
            else:
                self._pieces.clear()

    def _end(self, _: str) -> None:
        path, self._path = self._path, self._path[:-1]
        text = None if self._pieces is None else "".join(self._pieces)
        self._pieces = None
        self._ended(path, text)


class _FirstPage(Exception):
    """The head has ended."""


class HeadParser(_Elements):
    """Reads what stands before the first page of an export."""

    def __init__(self) -> None:
        super().__init__()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._namespace = 0
        self.page_tag = ""
        """Name of the page elements, with an XML prefix if they have one; empty until the first."""
        self._seen_root = False
        self.database = ""
        """See `Site`; so are the next two."""
        self.language = ""
        self.namespaces: dict[int, str] = {}

    @property
    def site(self) -> Site:
        """What is known of the wiki."""
        return Site(database=self.database, language=self.language, namespaces=self.namespaces)

    def feed(self, data: bytes, *, final: bool = False) -> bool:
        """Reads on; returns whether the first page has begun.

        Raises:
          Refused: this is no export.
        """
        try:
            self._parser.Parse(data, final)
        except _FirstPage:
            self._release()
            return True
        except Refused as error:
            raise Refused(f"line {self._parser.CurrentLineNumber}: {error}") from None
        except expat.ExpatError as error:
            if final and self._seen_root:
                raise Refused("cut off before its first page; fetch it again") from None
            reason = f"{expat.ErrorString(error.code)} at line {error.lineno}"
            what = "damaged XML before the first page" if self._seen_root else "not XML"
            raise Refused(f"{what}: {reason}, column {error.offset}") from None
        return False

    def _doctype(self, *_: Any) -> None:
        raise Refused(
            "has a DOCTYPE, which no MediaWiki export has; entity definitions are refused, "
            "since they can make a small file endless"
        )

    def _element(self, path: tuple[str, ...], name: str, attributes: dict[str, str]) -> None:
        if len(path) == 1:
            if path[0] != "mediawiki":
                raise Refused(f"not a MediaWiki export: the root element is <{name[:40]}>")
            self._seen_root = True
            self.language = attributes.get("xml:lang", "")
        elif path == _PAGE:
            self.page_tag = name
            raise _FirstPage
        elif path == _NAMESPACE:
            self._namespace = _number(attributes.get("key", ""), default=0)
            self._collect()
        elif path == _DATABASE:
            self._collect()

    def _ended(self, path: tuple[str, ...], text: str | None) -> None:
        if path == _NAMESPACE:
            self.namespaces[self._namespace] = text or ""
        elif path == _DATABASE:
            self.database = text or ""


@dataclass
class _Revision:
    """A revision while its elements come in."""

    fields: dict[str, str] = field(default_factory=dict)
    """Text of `id`, `timestamp`, `model` and `text`, as far as seen."""
    is_too_large: bool = False

    @property
    def timestamp(self) -> str:
        found = self.fields.get("timestamp", "").strip()
        return found if _TIMESTAMP.fullmatch(found) else ""

    def is_older_than(self, other: "_Revision") -> bool:
        mine, others = self.timestamp, other.timestamp
        return bool(mine and others and mine < others)


class PageParser(_Elements):
    """Reads one page, from `<page` on."""

    def __init__(self, site: Site, *, tag: str = "page", begin: int = 0, index: int = 0) -> None:
        """Takes the wiki, the name of the page's element, and where in the file it begins."""
        super().__init__()
        self._most_characters = MAX_PAGE_CHARACTERS
        self._site = site
        self._tag = tag
        self._begin = begin
        self._index = index
        self._fields: dict[str, str] = {}
        self._has_redirect = False
        self._is_too_large = False
        self._latest = _Revision()
        self._revision = self._latest
        self._has_ended = False
        self._error = ""
        self.feed(b"<mediawiki>")

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Reads on."""
        if self._error:
            return
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            self._error = f"{expat.ErrorString(error.code)} at line {error.lineno} of the page"
        except Refused as error:
            self._error = str(error)

    def finish(self) -> Page:
        """Returns the page, when all before its end tag has been read."""
        self.feed(f"</{self._tag}></mediawiki>".encode(), final=True)
        if not self._has_ended and not self._error:
            self._error = "the element has no end"
        return self._page("bad_xml" if self._error else "", self._error)

    def broken(self, problem: str, detail: str) -> Page:
        """Returns what is known of a page that cannot be read to its end."""
        return self._page(problem, detail)

    def _element(self, path: tuple[str, ...], name: str, attributes: dict[str, str]) -> None:
        if path == _REVISION:
            self._revision = _Revision()
        elif path in _OF_PAGE:
            self._collect()
        elif path in _OF_REVISION:
            if not (path[-1] == "text" and "deleted" in attributes):
                self._collect()
        elif path == (*_PAGE, "redirect"):
            self._has_redirect = True

    def _ended(self, path: tuple[str, ...], text: str | None) -> None:
        if path == _PAGE:
            self._has_ended = True
        elif path == _REVISION:
            if not self._revision.is_older_than(self._latest):
                self._latest = self._revision
        elif text is not None:
            is_too_large = self._num_characters > MAX_PAGE_CHARACTERS
            if path in _OF_PAGE:
                self._fields[path[-1]] = text
                self._is_too_large |= is_too_large
            else:
                self._revision.fields[path[-1]] = text
                self._revision.is_too_large |= is_too_large

    def _page(self, problem: str, detail: str) -> Page:
        self._release()
        latest = self._latest
        title, text = self._fields.get("title", ""), latest.fields.get("text")
        page_id = _number(self._fields.get("id", ""), default=-1)
        if not problem:
            if self._is_too_large or latest.is_too_large:
                problem, detail = "too_large", f"more than {MAX_PAGE_CHARACTERS:,} characters"
            elif MARK in title or (text is not None and MARK in text):
                problem = "bad_characters"
            elif not 0 <= page_id <= _MAX_PAGE_ID:
                problem = "bad_id"
        return Page(
            page_id=page_id if 0 <= page_id <= _MAX_PAGE_ID else -1,
            title=title.replace(MARK, "\ufffd"),
            namespace=_number(self._fields.get("ns", ""), default=self._namespace_of(title)),
            is_redirect=self._has_redirect or _is_redirect(text or "", self._site.language),
            model=latest.fields.get("model", "wikitext"),
            text=text,
            timestamp=latest.timestamp,
            revision_id=_number(latest.fields.get("id", ""), default=-1),
            begin=self._begin,
            index=self._index,
            problem=problem,
            detail=detail,
        )

    def _namespace_of(self, title: str) -> int:
        prefix, colon, _ = title.partition(":")
        wanted = prefix.strip().replace("_", " ").lower()
        names = self._site.namespaces
        named = (n for n, name in names.items() if name and name.lower() == wanted)
        return next(named, 0) if colon else 0


def _is_redirect(text: str, language: str) -> bool:
    return _redirect_pattern(language).match(text) is not None


@functools.cache
def _redirect_pattern(language: str) -> re.Pattern[str]:
    """Returns what begins a redirect, as MediaWiki reads it: a word, perhaps a colon, a link."""
    words = "|".join(re.escape(word) for word in sorted(names_of(language).redirect))
    return re.compile(rf"\s*(?:{words})\s*:?\s*\[\[", re.IGNORECASE)


def _number(text: str, *, default: int) -> int:
    text = text.strip()
    # Bounded, since Python refuses to convert thousands of digits and no id has them.
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else default
