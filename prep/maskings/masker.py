"""Masks sequences as the settings say, with randomness that belongs to the record's key."""

# T tokens, C candidate positions, V vocabulary

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prep.kinds.settings import ExampleSettings
from prep.masking import Masked, choose_tokens, num_to_mask, replace_tokens
from prep.maskings.interleave import deal_out
from prep.maskings.spans import NGRAM, SPAN, choose_spans
from prep.maskings.weights import choose_weighted
from prep.maskings.words import choose_words, word_numbers
from prep.seeds import generator
from prep.split import record_key

__all__ = ["Masker"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Masker:
    """What is needed to mask: settings and facts of the tokenizer."""

    settings: ExampleSettings
    """Which masking, how much, how often."""
    mask_id: int
    """Stands for a token to predict."""
    vocab_size: int
    """Replacements are drawn from [0, vocab_size)."""
    word_starts: npt.NDArray[np.bool_]
    """(V,) True where a piece begins a word."""
    chances: npt.NDArray[np.float64] | None = None
    """(V,) probability of each token, for `weighted`."""

    def mask(self, ids: Int64, candidates: Int64, *, key: bytes) -> Masked:
        """Masks the one sequence that `key` names."""
        rng = generator(seed=self.settings.seed, key=key, stage="masking")
        chosen, spans = self._choose(ids, candidates, rng)
        return self._replace(ids, candidates[chosen], rng, spans)

    def mask_passes(
        self, ids: Int64, candidates: Int64, *, page: bytes, sequence: int
    ) -> Iterator[tuple[bytes, Masked]]:
        """Yields key and masking of every pass over one sequence.

        Interleaved passes in which nothing is left to label are left out.

        Args:
          ids: (T,) tokens.
          candidates: (C,) positions that may be masked.
          page: corpus and page of the keys.
          sequence: of the keys.
        """
        settings = self.settings
        passes = range(settings.dupe_factor)
        keys = [record_key(page, duplicate=n, sequence=sequence) for n in passes]
        if not settings.interleaved:
            for key in keys:
                yield key, self.mask(ids, candidates, key=key)
            return
        whole = settings.masking == "whole-word"
        pass_of = deal_out(
            word_numbers(ids, candidates, self.word_starts)
            if whole
            else np.arange(len(candidates)),
            passes=settings.dupe_factor,
            max_predictions=settings.max_predictions_per_seq,
            rng=generator(seed=settings.seed, key=keys[0], stage="interleave"),
        )
        for number, key in enumerate(keys):
            positions = candidates[pass_of == number]
            if len(positions):
                rng = generator(seed=settings.seed, key=key, stage="masking")
                yield key, self._replace(ids, positions, rng, None)

    def _choose(
        self, ids: Int64, candidates: Int64, rng: np.random.Generator
    ) -> tuple[Int64, Int64 | None]:
        """Returns numbers of candidates, and their spans where these share a fate."""
        settings = self.settings
        limit = settings.max_predictions_per_seq
        if settings.masking == "weighted":
            assert self.chances is not None  # the command sees to it
            return choose_weighted(
                self.chances[ids[candidates]], max_predictions=limit, rng=rng
            ), None
        wanted = num_to_mask(len(ids), rate=settings.masked_lm_prob, max_predictions=limit)
        if settings.masking == "token":
            return choose_tokens(len(candidates), wanted=wanted, rng=rng), None
        words = word_numbers(ids, candidates, self.word_starts)
        if settings.masking == "whole-word":
            return choose_words(words, wanted=wanted, rng=rng), None
        rule = SPAN if settings.masking == "span" else NGRAM
        found = choose_spans(words, candidates, rule=rule, wanted=wanted, rng=rng)
        return found.chosen, found.spans if rule.shared_fate else None

    def _replace(
        self, ids: Int64, positions: Int64, rng: np.random.Generator, spans: Int64 | None
    ) -> Masked:
        return replace_tokens(
            ids,
            positions,
            rng=rng,
            mask_id=self.mask_id,
            vocab_size=self.vocab_size,
            spans=spans,
        )
