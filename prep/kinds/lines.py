"""A row for each line: texts of one sequence a line, masked or not.

A line that is too long loses its last tokens; they are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from prep.kinds.frame import Frame
from prep.kinds.rows import NO_TOKENS, Made, Rows, TokenisedDocument
from prep.kinds.settings import ExampleSettings
from prep.maskings.masker import Masker
from prep.split import page_prefix, record_key

__all__ = ["TRUNCATED_ROWS", "TRUNCATED_TOKENS", "Lines"]

TRUNCATED_ROWS = "truncated_rows"
"""Note: rows that lost tokens at their end."""
TRUNCATED_TOKENS = "truncated_tokens"
"""Note: tokens lost at the ends of rows."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Documents -> a row a sentence."""

    settings: ExampleSettings
    """Length, masking, passes, seed."""
    frame: Frame
    """Around the lines."""
    masker: Masker | None
    """None leaves the rows unmasked."""
    dtype: np.dtype[Any]
    """Of a row."""

    def make(self, documents: list[TokenisedDocument]) -> Made:
        """Makes the rows of every pass."""
        rows, room = Rows(self.dtype), self.settings.max_seq_length - 2
        notes = {TRUNCATED_ROWS: 0, TRUNCATED_TOKENS: 0}
        for document in documents:
            page = page_prefix(document.key)
            for sequence, sentence in enumerate(document.sentences):
                lost = max(0, len(sentence) - room)
                notes[TRUNCATED_ROWS] += lost > 0
                notes[TRUNCATED_TOKENS] += lost
                framed = self.frame.single(sentence[:room])
                if self.masker is None:
                    rows.add(framed, key=record_key(page, duplicate=0, sequence=sequence))
                    continue
                for key, masked in self.masker.mask_passes(
                    framed.ids, framed.candidates, page=page, sequence=sequence
                ):
                    rows.add(framed, key=key, masked=masked)
        return Made(
            rows=rows.array(),
            filters=["" if document.sentences else NO_TOKENS for document in documents],
            notes={name: count for name, count in notes.items() if count},
        )
