"""Full sentences, packed to the length, as RoBERTa does it (Liu et al. 2019, section 4.2).

A row takes sentences in order while they fit; one that does not fit begins the next row. A sentence
longer than a row is cut into rows, so no token is lost. Where rows may cross documents
(FULL-SENTENCES) one separator stands between two of them; within documents (DOC-SENTENCES) every
document begins a row of its own. All passes have the same rows, under other masks.

A row bears the key of the document in which its first token lies.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from limbeck.records.examples import NO_NEXT_SENTENCE_LABEL
from prep.kinds.frame import Frame
from prep.kinds.rows import NO_TOKENS, Made, Rows, TokenisedDocument
from prep.kinds.settings import ExampleSettings
from prep.maskings.masker import Masker
from prep.split import page_prefix, record_key

__all__ = ["Packed", "PackedRow", "pack"]

_SEPARATOR = 1  # tokens between two documents of a row


@dataclass(frozen=True, kw_only=True)
class PackedRow:
    """The tokens of one row, without special ones."""

    document: int
    """Number of the document in which the first token lies."""
    parts: list[list[int]] = field(default_factory=list)
    """Tokens of each document in the row."""


def pack(documents: list[TokenisedDocument], *, room: int) -> Iterator[PackedRow]:
    """Yields rows of at most `room` tokens, separators between documents included."""
    row: PackedRow | None = None
    last = -1  # document whose part was begun last
    used = 0
    for number, document in enumerate(documents):
        for sentence in document.sentences:
            tokens = list(sentence)
            gap = _SEPARATOR if number != last else 0
            if row is not None and used + gap + len(tokens) > room:
                yield row
                row = None
            while len(tokens) > room:
                yield PackedRow(document=number, parts=[tokens[:room]])
                tokens = tokens[room:]
            if row is None:
                row, last, used = PackedRow(document=number, parts=[[]]), number, 0
            elif number != last:
                row.parts.append([])
                last, used = number, used + _SEPARATOR
            row.parts[-1] += tokens
            used += len(tokens)
    if row is not None:
        yield row


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Documents -> rows of full sentences, masked or not."""

    settings: ExampleSettings
    """Length, masking, passes, seed."""
    frame: Frame
    """Around the rows."""
    masker: Masker | None
    """None leaves the rows unmasked, and gives them no next-sentence label."""
    dtype: np.dtype[Any]
    """Of a row."""

    def make(self, documents: list[TokenisedDocument]) -> Made:
        """Packs documents that may share rows; alone in the list, a document shares none."""
        rows = Rows(self.dtype)
        sequences = [0] * len(documents)
        for packed in pack(documents, room=self.settings.max_seq_length - 2):
            framed = self.frame.single(*packed.parts)
            page = page_prefix(documents[packed.document].key)
            sequence = sequences[packed.document]
            sequences[packed.document] += 1
            if self.masker is None:
                key = record_key(page, duplicate=0, sequence=sequence)
                rows.add(framed, key=key, is_random_next=NO_NEXT_SENTENCE_LABEL)
                continue
            for key, masked in self.masker.mask_passes(
                framed.ids, framed.candidates, page=page, sequence=sequence
            ):
                rows.add(framed, key=key, masked=masked)
        return Made(
            rows=rows.array(),
            filters=["" if document.sentences else NO_TOKENS for document in documents],
        )
