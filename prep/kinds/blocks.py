"""Blocks of running text for causal language models.

Every document is followed by one end-of-text token; the stream is cut every `max_seq_length`
tokens. Nothing stands around a block and no token is lost, except that with `drop_tails` the last,
shorter block of each stream is left out and its tokens are counted.

A block bears the key of the document in which its first token lies.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from prep.kinds.frame import Framed
from prep.kinds.rows import NO_TOKENS, Made, Rows, TokenisedDocument
from prep.kinds.settings import ExampleSettings
from prep.split import page_prefix, record_key

__all__ = ["DROPPED_TOKENS", "TAIL", "Blocks"]

TAIL = "tail"
"""Filter that takes out documents which lie wholly in a tail that is left out."""
DROPPED_TOKENS = "dropped_tokens"
"""Note: tokens of tails that are left out, end-of-text tokens included."""

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Documents -> blocks."""

    settings: ExampleSettings
    """Length, and what becomes of tails."""
    end_of_text: int
    """Follows every document."""
    dtype: np.dtype[Any]
    """Of a row."""

    def make(self, documents: list[TokenisedDocument]) -> Made:
        """Cuts the stream of some documents."""
        length = self.settings.max_seq_length
        parts = [self._stream(document) for document in documents]
        starts = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
        stream = np.concatenate([*parts, _NONE])
        end = len(stream)
        if self.settings.drop_tails:
            end -= end % length
        rows, sequences = Rows(self.dtype), [0] * len(documents)
        for begin in range(0, end, length):
            ids = stream[begin : begin + length]
            # The last of the documents that start here or before: empty ones start where the next
            # one does.
            number = int(np.searchsorted(starts, begin, side="right")) - 1
            key = record_key(
                page_prefix(documents[number].key), duplicate=0, sequence=sequences[number]
            )
            sequences[number] += 1
            rows.add(Framed(ids=ids, split=len(ids), candidates=_NONE), key=key)
        dropped = len(stream) - end
        return Made(
            rows=rows.array(),
            filters=[
                NO_TOKENS if begin == stop else TAIL if begin >= end else ""
                for begin, stop in itertools.pairwise(starts.tolist())
            ],
            notes={DROPPED_TOKENS: dropped} if dropped else {},
        )

    def _stream(self, document: TokenisedDocument) -> np.ndarray:
        if not document.sentences:
            return _NONE
        tokens = itertools.chain.from_iterable(document.sentences)
        return np.array([*tokens, self.end_of_text], np.int64)
