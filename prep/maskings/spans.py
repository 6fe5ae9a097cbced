"""Masking runs of whole words.

*Spans* (Joshi et al. 2020, SpanBERT, section 3.1): a length l is drawn from a geometric
distribution cut off at 10 and scaled to sum to 1, P(l) ~ p (1 - p)^(l-1) with p = 0.2 (mean 3.8
words), then a start uniformly among the words; all tokens of a span share one fate of masking,
keeping and replacing.

*n-grams* (Lan et al. 2020, ALBERT, section 4.1): P(n) = (1/n) / sum_k (1/k), n = 1 .. 3; each token
has a fate of its own, as in the published script.

Starts are tried in random order until the budget is met. A span ends before a separator, before a
word that is masked already, and before a word that would exceed the budget.
"""

# C candidate positions, W words, M masked positions

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prep.maskings.words import word_sizes

__all__ = ["NGRAM", "SPAN", "SpanRule", "Spans", "choose_spans", "draw_lengths"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SpanRule:
    """How long the runs are, and whether their tokens share a fate."""

    weights: tuple[float, ...]
    """Relative probability of the lengths 1, 2, ..."""
    shared_fate: bool
    """Whether all tokens of a run are masked, kept or replaced together."""


SPAN = SpanRule(weights=tuple(0.2 * 0.8**n for n in range(10)), shared_fate=True)
"""SpanBERT's."""
NGRAM = SpanRule(weights=(1.0, 1 / 2, 1 / 3), shared_fate=False)
"""ALBERT's."""


@dataclass(frozen=True, kw_only=True)
class Spans:
    """What was chosen."""

    chosen: Int64
    """(M,) ascending numbers of candidates."""
    spans: Int64
    """(M,) the span of each, numbered from 0."""


def draw_lengths(rule: SpanRule, *, count: int, rng: np.random.Generator) -> Int64:
    """Draws `count` lengths, in words."""
    total = np.cumsum(rule.weights)
    # Below the last sum by construction: random() is below 1.
    return 1 + np.searchsorted(total, rng.random(count) * total[-1], side="right")


def choose_spans(
    words: Int64, candidates: Int64, *, rule: SpanRule, wanted: int, rng: np.random.Generator
) -> Spans:
    """Chooses runs of words, at most `wanted` tokens.

    Args:
      words: (C,) word of each candidate.
      candidates: (C,) ascending positions.
      rule: lengths.
      wanted: the budget, in tokens.
      rng: generator of this record and stage.
    """
    sizes = word_sizes(words)
    lengths = draw_lengths(rule, count=len(sizes), rng=rng).tolist()
    order = np.argsort(rng.random(len(sizes)), kind="stable").tolist()
    span_of = _runs(order, lengths, sizes.tolist(), _is_joined(words, candidates), wanted)
    spans = np.array(span_of, np.int64)[words]
    chosen = np.flatnonzero(spans >= 0)
    return Spans(chosen=chosen, spans=spans[chosen])


def _is_joined(words: Int64, candidates: Int64) -> list[bool]:
    """Returns for each word whether nothing stands between it and the word before."""
    firsts = np.flatnonzero(np.diff(words, prepend=-1))
    return [False, *(candidates[firsts[1:]] - candidates[firsts[1:] - 1] == 1).tolist()]


def _runs(
    order: list[int], lengths: list[int], sizes: list[int], joined: list[bool], wanted: int
) -> list[int]:
    """Returns the span of each word, -1 for none."""
    span_of = [-1] * len(sizes)
    number, left = 0, wanted
    for start in order:
        if left == 0:
            break
        end = start
        while (
            end < min(start + lengths[start], len(sizes))
            and span_of[end] < 0
            and sizes[end] <= left
            and (end == start or joined[end])
        ):
            span_of[end] = number
            left -= sizes[end]
            end += 1
        number += end > start
    return span_of
