"""One wiki page -> its sentences; the function that runs behind the guard."""

from typing import Any

from prep.sentences import split_sentences
from prep.wikitext import DROPPED_NAMESPACES, parse_sections

__all__ = ["FUNCTION", "clean_page"]

FUNCTION = "prep.article:clean_page"
"""Name of `clean_page` for `prep.guard.Guard`."""


def clean_page(page: dict[str, Any]) -> list[str]:
    """Returns the sentences of a page's prose, in order; an empty list when there is none.

    Args:
      page: `text` (wikitext), `language` (of the sentence splitter), `dropped_namespaces` (the
        wiki's own lower-case names for files, media and categories, beside the English ones) and
        `keep_lists`.
    """
    dropped = DROPPED_NAMESPACES | set(page["dropped_namespaces"])
    return [
        sentence
        for section in parse_sections(
            page["text"], dropped_namespaces=dropped, keep_lists=page["keep_lists"]
        )
        for paragraph in section.paragraphs
        for sentence in split_sentences(paragraph, language=page["language"])
    ]
