"""The texts of a document that a tokenizer is given, so that they join as they did on the page.

Byte-level BPE tells a word after a space from one at the beginning of a text. Where a tokenizer
does so, every sentence but a document's first gets the space that stood before it; WordPiece and
SentencePiece do it by themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.records.documents import paragraphs_of
from limbeck.tokens.tokenizer import Tokenizer

__all__ = ["marks_spaces", "running_text", "spaced"]


def marks_spaces(tokenizer: Tokenizer) -> bool:
    """Returns whether a text that is joined by a space has other tokens than its parts."""
    whole, part = tokenizer.encode(["a a", "a"])
    return whole != part + part


def spaced(sentences: Sequence[str]) -> list[str]:
    """Returns sentences with the space that joins each to the one before it."""
    return [
        sentence if number == 0 else f" {sentence}" for number, sentence in enumerate(sentences)
    ]


def running_text(record: Mapping[str, Any]) -> str:
    """Returns the whole text of a document: a line for each paragraph.

    Args:
      record: of a documents dataset; one that says nothing of paragraphs is one paragraph.
    """
    sentences = record["sentences"]
    starts = paragraphs_of(record) if record.get("paragraphs") else ()
    bounds = [0, *starts[1:], len(sentences)]
    return "\n".join(
        " ".join(sentences[begin:end]) for begin, end in zip(bounds, bounds[1:], strict=False)
    )
