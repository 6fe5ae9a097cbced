"""Documents: what preparation makes of a page, one sentence an item, with its structure beside it.

Paragraphs and headings are places in the list of sentences, so a reader that wants sentences only
skips them. They are kept as little-endian uint32, in `bytes` fields.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.records.layout import KEY, Field, Layout

__all__ = ["document_row", "documents_layout", "headings_of", "paragraphs_of"]

_MAX_PLACE = (1 << 32) - 1

HeadingPlace = tuple[str, int, int]
"""Text, level, and the sentence before which a heading stands."""


def documents_layout() -> Layout:
    """Returns the layout of a documents dataset.

    Fields:
      key: (16,) uint8; corpus and page.
      title: utf8; the page's title, empty where there is none.
      sentences: list of utf8; the page's sentences in order.
      paragraphs: bytes; uint32 each, the first sentence of each paragraph, ascending.
      headings: list of utf8; the texts of the page's headings in order.
      heading_places: bytes; two uint32 for each heading, its level and the sentence before which
        it stands (the number of sentences for one at the end).
    """
    return Layout(
        (
            KEY,
            Field("title", "utf8"),
            Field("sentences", "utf8", (None,)),
            Field("paragraphs", "bytes"),
            Field("headings", "utf8", (None,)),
            Field("heading_places", "bytes"),
        )
    )


def document_row(
    *,
    key: bytes,
    title: str,
    sentences: Sequence[str],
    paragraphs: Sequence[int] = (),
    headings: Sequence[HeadingPlace] = (),
) -> dict[str, Any]:
    """Returns one record of `documents_layout`.

    Args:
      key: 16 bytes.
      title: of the page.
      sentences: in order.
      paragraphs: the first sentence of each paragraph; none says that they are not known.
      headings: (text, level, sentence) each.
    """
    return {
        "key": key,
        "title": title,
        "sentences": list(sentences),
        "paragraphs": _pack(paragraphs),
        "headings": [text for text, _, _ in headings],
        "heading_places": _pack([n for _, level, place in headings for n in (level, place)]),
    }


def paragraphs_of(record: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the first sentence of each paragraph of a record."""
    return _unpack(record, "paragraphs")


def headings_of(record: Mapping[str, Any]) -> tuple[HeadingPlace, ...]:
    """Returns text, level and place of each heading of a record.

    Raises:
      LimbeckError: texts and places are of different numbers.
    """
    texts, places = record["headings"], _unpack(record, "heading_places")
    if len(places) != 2 * len(texts):
        raise LimbeckError(
            f"document: {len(texts)} headings have {len(places)} numbers, not 2 each"
        )
    return tuple(zip(texts, places[::2], places[1::2], strict=True))


def _pack(numbers: Sequence[int]) -> bytes:
    if not all(0 <= number <= _MAX_PLACE for number in numbers):
        raise ValueError(f"document: a place is outside 0 to {_MAX_PLACE}")
    return np.array(numbers, "<u4").tobytes()


def _unpack(record: Mapping[str, Any], name: str) -> tuple[int, ...]:
    data = record[name]
    if len(data) % 4:
        raise LimbeckError(f"document: {name} has {len(data)} bytes; expected a multiple of 4")
    return tuple(np.frombuffer(data, "<u4").tolist())
