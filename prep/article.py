"""One wiki page -> a document; the function that runs behind the guard."""

from typing import Any

from prep.document import Document, Heading
from prep.sentences import split_sentences
from prep.wikitext import parse_sections

__all__ = ["FUNCTION", "clean_page"]

FUNCTION = "prep.article:clean_page"
"""Name of `clean_page` for `prep.guard.Guard`."""


def clean_page(page: dict[str, Any]) -> dict[str, Any]:
    """Returns `Document.to_json()` of a page's prose; no sentences when there is none.

    Args:
      page: `text` (wikitext), `language` (of the wiki: its names, templates and sentences),
        `dropped_namespaces` (the wiki's own lower-case names for files, media and categories,
        beside those of its language) and `keep_lists`.
    """
    language = page["language"]
    headings: list[Heading] = []
    paragraphs: list[list[str]] = []
    num_sentences = 0
    for section in parse_sections(
        page["text"],
        language=language,
        dropped_namespaces=page["dropped_namespaces"],
        keep_lists=page["keep_lists"],
    ):
        if section.heading:
            headings.append(
                Heading(text=section.heading, level=section.level, sentence=num_sentences)
            )
        for text in section.paragraphs:
            paragraphs.append(split_sentences(text, language=language))
            num_sentences += len(paragraphs[-1])
    return Document.of_paragraphs(paragraphs, headings=headings).to_json()
