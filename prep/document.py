"""A document: the sentences of a page, and where its paragraphs and headings are among them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.records.documents import document_row, headings_of, paragraphs_of

__all__ = ["Document", "Heading"]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading, which is no sentence."""

    text: str
    """Without markup, on one line."""
    level: int
    """Number of equals signs in wikitext, 1 to 6."""
    sentence: int
    """Before which sentence it stands; the number of sentences for one at the end."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Sentences with their structure."""

    sentences: tuple[str, ...]
    """In order; none is empty."""
    paragraphs: tuple[int, ...]
    """The first sentence of each paragraph, strictly ascending from 0; () without sentences."""
    headings: tuple[Heading, ...] = ()
    """In order."""

    def __post_init__(self) -> None:
        """Refuses places that are none."""
        total, starts = len(self.sentences), self.paragraphs
        if total and (not starts or starts[0] != 0 or starts[-1] >= total):
            raise ValueError(f"paragraphs start at {starts[:3]}...; there are {total} sentences")
        if not total and starts:
            raise ValueError(f"{len(starts)} paragraphs and no sentence")
        if any(a >= b for a, b in zip(starts, starts[1:], strict=False)):
            raise ValueError(f"paragraphs do not ascend: {starts[:10]}")
        places = [0, *(heading.sentence for heading in self.headings), total]
        if places != sorted(places):
            raise ValueError(f"headings are out of order or outside 0 to {total}: {places[1:-1]}")

    @classmethod
    def of_paragraphs(
        cls, paragraphs: Iterable[Sequence[str]], *, headings: Iterable[Heading] = ()
    ) -> "Document":
        """Joins paragraphs, each a sequence of sentences; empty ones are left out."""
        starts, sentences = [], []  # type: list[int], list[str]
        for paragraph in paragraphs:
            if paragraph:
                starts.append(len(sentences))
                sentences.extend(paragraph)
        return cls(sentences=tuple(sentences), paragraphs=tuple(starts), headings=tuple(headings))

    def to_json(self) -> dict[str, Any]:
        """Returns plain lists, for pipes and for elements of a pipeline."""
        return {
            "sentences": list(self.sentences),
            "paragraphs": list(self.paragraphs),
            "headings": [[h.text, h.level, h.sentence] for h in self.headings],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Document":
        """Reads what `to_json` returned."""
        return cls(
            sentences=tuple(value["sentences"]),
            paragraphs=tuple(value["paragraphs"]),
            headings=_headings(value["headings"]),
        )

    def to_row(self, *, key: bytes, title: str) -> dict[str, Any]:
        """Returns the record of a documents dataset."""
        return document_row(key=key, title=title, **self.to_json())

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Document":
        """Reads a record of a documents dataset; one without paragraphs becomes one paragraph.

        Raises:
          LimbeckError: its numbers do not fit each other.
        """
        sentences = tuple(record["sentences"])
        starts = paragraphs_of(record) or ((0,) if sentences else ())
        return cls(sentences=sentences, paragraphs=starts, headings=_headings(headings_of(record)))


def _headings(items: Sequence[Sequence[Any]]) -> tuple[Heading, ...]:
    return tuple(Heading(text=text, level=level, sentence=place) for text, level, place in items)
