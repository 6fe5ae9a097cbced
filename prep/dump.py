"""Pages of a MediaWiki XML export, read as a stream in constant memory.

Plain, bzip2 (also multistream), gzip and xz files are told apart by their first bytes.

What is wrong with the file as a whole is one `LimbeckError` that names it: empty, cut off,
damaged, not XML, not an export, without pages, or with a DOCTYPE (exports have none, and entity
definitions are how a small file becomes a huge one). What is wrong with one page is that page's
`problem`: bytes that are no characters of its encoding, text beyond `MAX_PAGE_CHARACTERS`, no
usable id.
"""

import codecs
import re
from collections.abc import Iterator
from xml.parsers import expat

from limbeck.config.errors import LimbeckError
from prep.compressed import open_compressed, read_blocks
from prep.mediawiki import MARK, Export, Page, Refused, Site

__all__ = ["Page", "Site", "read_pages", "read_site"]

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# What the parser says when the file ends too early.
_CUT_OFF = frozenset(
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
)


def read_site(path: str) -> Site:
    """Reads the head of an export up to its first page, and so checks that it is one.

    Raises:
      LimbeckError: the file is not a readable MediaWiki export.
      OSError: the file cannot be opened.
    """
    export = Export()
    for _ in _parse(path, export):
        if export.pages or export.in_page:
            break
    _check_has_page(path, export)
    return export.site


def read_pages(path: str) -> Iterator[Page]:
    """Yields every page of an export in file order.

    Raises:
      LimbeckError: the file is damaged; most pages before the damage have been yielded by then.
      OSError: the file cannot be read.
    """
    export = Export()
    for _ in _parse(path, export):
        yield from export.pages
        export.pages.clear()
    _check_has_page(path, export)


def _check_has_page(path: str, export: Export) -> None:
    if export.num_pages == 0 and not export.in_page:
        raise LimbeckError(f"{path}: a MediaWiki export without a single page")


def _parse(path: str, export: Export) -> Iterator[None]:
    """Feeds the file to `export` block by block; yields after each."""
    parser = expat.ParserCreate()
    export.attach(parser)
    try:
        with open_compressed(path) as file:
            for text in _decoded(path, read_blocks(file, path=path)):
                parser.Parse(text, False)
                yield
        parser.Parse("", True)
        yield
    except expat.ExpatError as error:
        raise LimbeckError(f"{path}: {_xml_complaint(error, export)}") from None
    except Refused as error:
        line = parser.CurrentLineNumber
        raise LimbeckError(f"{path}: line {line}: {error}") from None


def _xml_complaint(error: expat.ExpatError, export: Export) -> str:
    reason = expat.ErrorString(error.code)
    where = f"line {error.lineno}, column {error.offset}"
    if not export.seen_root:
        return f"not XML: {reason} at {where}"
    if error.code in _CUT_OFF:
        return (
            f"cut off after {export.num_pages} whole pages, at line {error.lineno}; fetch it again"
        )
    return f"damaged XML after {export.num_pages} whole pages: {reason} at {where}"


def _decoded(path: str, blocks: Iterator[bytes]) -> Iterator[str]:
    """Yields the text of a file; what is no XML character becomes `MARK`."""
    first = next(blocks, b"")
    if not first:
        raise LimbeckError(f"{path}: the file is empty")
    decoder = codecs.getincrementaldecoder(_encoding(path, first))(errors="limbeck-mark")
    block = first
    while block:
        text = decoder.decode(block)
        yield _NOT_XML.sub(MARK, text)
        block = next(blocks, b"")
    if rest := decoder.decode(b"", final=True):
        yield rest


def _encoding(path: str, head: bytes) -> str:
    for signature, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if head.startswith(signature):
            return encoding
    declared = re.match(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([\w.-]+)", head[:200])
    name = declared[1].decode("ascii").lower() if declared else "utf-8"
    if name not in ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1"):
        raise LimbeckError(f"{path}: is in the encoding {name!r}; convert it to UTF-8")
    return name


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


codecs.register_error("limbeck-mark", _mark)
