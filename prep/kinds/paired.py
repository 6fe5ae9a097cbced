"""Sentence pairs: BERT's masked ones with the next-sentence question, and unmasked ones.

The pairs are those of `prep.pairs`. A document's pass is a function of (seed, document, pass) and
of the partners that its hash chooses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.records.examples import NO_NEXT_SENTENCE_LABEL
from prep.kinds.frame import Frame, Framed
from prep.kinds.rows import NO_TOKENS, Made, Rows, TokenisedDocument
from prep.kinds.settings import ExampleSettings
from prep.maskings.masker import Masker
from prep.pairs import Pair, Sentences, build_pairs
from prep.seeds import generator, keyed_hash
from prep.split import page_prefix, record_key

__all__ = ["Paired", "Partner"]

Partner = Callable[[int, int], Sentences]
"""(row of a document, 64-bit hash) -> another document of the same split."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Documents -> rows of pairs."""

    settings: ExampleSettings
    """Lengths, probabilities, passes, seed."""
    frame: Frame
    """Around the pairs."""
    masker: Masker | None
    """None leaves the pairs unmasked."""
    dtype: np.dtype[Any]
    """Of a row."""
    partner: Partner | None
    """Where random next segments come from; None takes the next sentences always."""

    def make(self, documents: list[TokenisedDocument]) -> Made:
        """Makes the rows of every pass over some documents."""
        rows = Rows(self.dtype)
        for document in documents:
            if self.settings.interleaved:
                self._add_interleaved(rows, document)
            else:
                for duplicate in range(self.settings.dupe_factor):
                    self._add_pass(rows, document, duplicate)
        return Made(
            rows=rows.array(),
            filters=["" if document.sentences else NO_TOKENS for document in documents],
        )

    def _add_pass(self, rows: Rows, document: TokenisedDocument, duplicate: int) -> None:
        page = page_prefix(document.key)
        for sequence, pair in enumerate(self._pairs(document, duplicate)):
            key = record_key(page, duplicate=duplicate, sequence=sequence)
            framed = self._framed(pair)
            masked = None
            if self.masker is not None:
                masked = self.masker.mask(framed.ids, framed.candidates, key=key)
            rows.add(framed, key=key, masked=masked, is_random_next=self._label(pair))

    def _add_interleaved(self, rows: Rows, document: TokenisedDocument) -> None:
        """Adds the maskings of one and the same list of pairs."""
        assert self.masker is not None  # the settings see to it
        page = page_prefix(document.key)
        for sequence, pair in enumerate(self._pairs(document, 0)):
            framed = self._framed(pair)
            for key, masked in self.masker.mask_passes(
                framed.ids, framed.candidates, page=page, sequence=sequence
            ):
                rows.add(framed, key=key, masked=masked, is_random_next=self._label(pair))

    def _framed(self, pair: Pair) -> Framed:
        if pair.second:
            return self.frame.pair(pair.first, pair.second)
        return self.frame.single(pair.first)

    def _label(self, pair: Pair) -> int:
        return NO_NEXT_SENTENCE_LABEL if self.partner is None else int(pair.is_random_next)

    def _pairs(self, document: TokenisedDocument, duplicate: int) -> Iterator[Pair]:
        settings = self.settings
        first_draw = duplicate << 32

        def draw_partner(number: int) -> Sentences:
            assert self.partner is not None  # not asked for otherwise
            value = keyed_hash(
                seed=settings.seed,
                key=document.key,
                stage="partner",
                counter=first_draw + number,
            )
            return self.partner(document.row, value)

        return build_pairs(
            document.sentences,
            max_seq_length=settings.max_seq_length,
            num_special=self.frame.num_around_pair,
            short_seq_prob=settings.short_seq_prob,
            rng=generator(seed=settings.seed, key=document.key, stage="pairs", duplicate=duplicate),
            partner=draw_partner if self.partner is not None else None,
        )
