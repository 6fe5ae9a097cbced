"""Exports made here, packed in every way, and a slow reader to compare with."""

import bz2
import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from prep.dumps.reading import read_range
from prep.dumps.source import look_at

NAMESPACES = """<namespaces>
  <namespace key="-2" case="first-letter">Media</namespace>
  <namespace key="0" case="first-letter" />
  <namespace key="4">Wikipedia</namespace>
  <namespace key="6">Datei</namespace>
  <namespace key="14">Kategorie</namespace>
</namespaces>"""
SITE = f"<siteinfo><sitename>W</sitename><dbname>dewiki</dbname>{NAMESPACES}</siteinfo>"
XMLNS = 'xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="de"'

_MARK, _END = 0x314159265359, 0x177245385090


def page_xml(
    title: str = "T",
    page_id: object = "1",
    ns: str = "<ns>0</ns>",
    text: str = "<text>Hi.</text>",
    extra: str = "",
    model: str = "",
) -> str:
    return (
        f"<page><title>{title}</title>{ns}<id>{page_id}</id>{extra}"
        f"<revision><id>77</id>{model}{text}</revision></page>"
    )


def export_xml(*pages: str, attributes: str = XMLNS, site: str = SITE) -> str:
    return f"<mediawiki {attributes}>\n{site}\n" + "\n".join(pages) + "\n</mediawiki>\n"


def _block_bits(stream: bytes) -> tuple[int, int]:
    """Returns the bits of a one-block stream's block, and how many there are."""
    raw, total = int.from_bytes(stream[4:], "big"), 8 * (len(stream) - 4)
    for padding in range(8):
        if raw >> (padding + 32) & (1 << 48) - 1 == _END:
            return raw >> (padding + 80), total - padding - 80
    raise AssertionError("no end mark")


def one_stream(pieces: Iterable[bytes]) -> bytes:
    """Packs pieces as one stream of bzip2 with a block for each: they begin at any bit."""
    bits, num_bits, combined = 0, 0, 0
    for piece in pieces:
        if piece:
            block, length = _block_bits(bz2.compress(piece))
            crc = block >> (length - 80) & 0xFFFFFFFF
            combined = (combined << 1 & 0xFFFFFFFF | combined >> 31) ^ crc
            bits, num_bits = bits << length | block, num_bits + length
    bits = (bits << 48 | _END) << 32 | combined
    padding = -(num_bits + 80) % 8
    return b"BZh9" + (bits << padding).to_bytes((num_bits + 80 + padding) // 8, "big")


def many_streams(pieces: Iterable[bytes]) -> bytes:
    return b"".join(bz2.compress(piece) for piece in pieces)


def _look(data: bytes) -> Any:
    return look_at(io.BytesIO(data), path="dump", size=len(data))


def _read(data: bytes, cuts: Sequence[int] = ()) -> list[Any]:
    """Reads an export in the ranges between cuts, checking what each range claims."""
    dump, items = _look(data), []
    edges = sorted({0, *cuts, len(data)})
    for begin, end in zip(edges, edges[1:], strict=False):
        asked: list[int] = []

        def claim(position: int, begin=begin, end=end, asked=asked) -> bool:
            assert begin <= position and (not asked or asked[-1] < position)
            assert not asked or asked[-1] < end, "asked again after a refusal"
            asked.append(position)
            return position < end

        items += read_range(io.BytesIO(data), dump, begin=begin, claim=claim)
    return items


def _slow_pages(data: bytes) -> list[tuple[int, str, str | None]]:
    """Reads a whole export by the standard library: id, title, text of the latest revision."""
    found = []
    for _, element in ET.iterparse(io.BytesIO(data)):
        if element.tag.rpartition("}")[2] != "page":
            continue
        space = element.tag[: -len("page")]
        revisions = element.findall(space + "revision")
        latest = revisions[0]
        for one in revisions:
            if one.findtext(space + "timestamp", "") >= latest.findtext(space + "timestamp", ""):
                latest = one
        text = latest.find(space + "text")
        found.append(
            (
                int(element.findtext(space + "id", "")),
                element.findtext(space + "title", ""),
                None if text is None or "deleted" in text.attrib else text.text or "",
            )
        )
    return found


@pytest.fixture(scope="session")
def xml() -> SimpleNamespace:
    """`page` and `export`, which write XML."""
    return SimpleNamespace(page=page_xml, export=export_xml)


@pytest.fixture(scope="session")
def packed() -> SimpleNamespace:
    """Ways of packing pieces with bzip2."""
    return SimpleNamespace(one_stream=one_stream, many_streams=many_streams)


@pytest.fixture(scope="session")
def read() -> Callable[..., list[Any]]:
    """Reads the bytes of an export, in ranges."""
    return _read


@pytest.fixture(scope="session")
def slow_pages() -> Callable[[bytes], list[tuple[int, str, str | None]]]:
    return _slow_pages
