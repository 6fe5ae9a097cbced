"""Sentence pairs for next-sentence prediction, as BERT builds them.

A document is walked once. Sentences are collected until they reach a target length; the first
1 .. n-1 of them become segment A. Segment B is, with probability 1/2 and always when there is just
one sentence, taken from a random other document ("random next"), and the sentences that B would
have used are put back to be walked again; otherwise B is the rest. The target is
max_seq_length - 3, or with probability `short_seq_prob` uniform in [2, max_seq_length - 3], drawn
once for the document. A pair that is too long loses tokens one at a time from its longer segment,
at the front or the back with probability 1/2 each.

Without partners B is always the rest, and a single sentence stands alone.

Differences from the published script, all on purpose: the random document is never the same one
(there it may be, after ten tries), and trimming draws the number of tokens lost at the front from
the binomial distribution at once (there one coin a token, which is quadratic on a long line).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError
from prep.seeds import below

__all__ = ["Pair", "Sentences", "build_pairs", "excess_of_each", "trim"]

Sentences = Sequence[Sequence[int]]
"""Token ids of a document, sentence by sentence."""

_MAX_PARTNERS = 100  # tries to find a partner with any token in it


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two segments without special tokens; the first holds at least one token."""

    first: list[int]
    """Tokens of segment A."""
    second: list[int]
    """Tokens of segment B; empty only where there are no partners."""
    is_random_next: bool
    """Whether B comes from another document."""


def build_pairs(
    sentences: Sentences,
    *,
    max_seq_length: int,
    short_seq_prob: float,
    rng: np.random.Generator,
    partner: Callable[[int], Sentences] | None,
    num_special: int = 3,
) -> Iterator[Pair]:
    """Yields the pairs of one document in order.

    Args:
      sentences: the document, each sentence with at least one token.
      max_seq_length: tokens of an example, special ones included; at least `num_special` + 2.
      short_seq_prob: probability that this document gets a shorter target length.
      rng: generator of this document and pass.
      partner: gives the document for the n-th draw of a random next segment; never this one. None
        makes no random next segments.
      num_special: special tokens of a pair: [CLS] A [SEP] B [SEP] has three.
    """
    max_tokens = max_seq_length - num_special
    target = max_tokens
    if rng.random() < short_seq_prob:
        target = 2 + below(rng, max_tokens - 1)

    draws = itertools.count()
    start = 0
    while start < len(sentences):
        end = _chunk_end(sentences, start, target)
        num_sentences = end - start
        # At least one sentence stays for B where there are two.
        split = start + (1 + below(rng, num_sentences - 1) if num_sentences >= 2 else 1)
        first = _join(sentences[start:split])
        is_random_next = partner is not None and (num_sentences == 1 or rng.random() < 0.5)
        if partner is not None and is_random_next:
            second = _random_segment(target - len(first), rng=rng, partner=partner, draws=draws)
            start = split  # the sentences that B did not use are walked again
        else:
            second = _join(sentences[split:end])
            start = end
        first, second = trim(first, second, max_tokens=max_tokens, rng=rng)
        yield Pair(first=first, second=second, is_random_next=is_random_next)


def trim(
    first: list[int], second: list[int], *, max_tokens: int, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Shortens a pair to `max_tokens`, always the longer side, B where they are equal."""
    from_first, from_second = excess_of_each(len(first), len(second), max_tokens=max_tokens)
    if not from_first and not from_second:
        return first, second
    return _cut(first, from_first, rng), _cut(second, from_second, rng)


def excess_of_each(num_first: int, num_second: int, *, max_tokens: int) -> tuple[int, int]:
    """Returns how many tokens each side must lose, one at a time from the longer, B on ties."""
    excess = num_first + num_second - max_tokens
    if excess <= 0:
        return 0, 0
    # First level the two, then alternate, B first.
    gap = num_first - num_second
    from_first = min(excess, max(gap, 0))
    from_second = min(excess, max(-gap, 0))
    rest = excess - from_first - from_second
    return from_first + rest // 2, from_second + rest - rest // 2


def _cut(tokens: list[int], count: int, rng: np.random.Generator) -> list[int]:
    """Drops `count` tokens, each from the front or the back with probability 1/2."""
    front = int(np.count_nonzero(rng.random(count) < 0.5))
    return tokens[front : len(tokens) - (count - front)]


def _chunk_end(sentences: Sentences, start: int, target: int) -> int:
    """Returns the end of the shortest run from `start` that reaches `target` tokens, if any."""
    length = 0
    for end in range(start, len(sentences)):
        length += len(sentences[end])
        if length >= target:
            return end + 1
    return len(sentences)


def _random_segment(
    target: int,
    *,
    rng: np.random.Generator,
    partner: Callable[[int], Sentences],
    draws: Iterator[int],
) -> list[int]:
    """Takes sentences of another document from a random one on, until `target` tokens."""
    for draw in itertools.islice(draws, _MAX_PARTNERS):
        other = partner(draw)
        segment: list[int] = []
        # A partner's sentences may tokenise to nothing: its tokens are made only when needed.
        for position in range(below(rng, len(other)), len(other)):
            segment.extend(other[position])
            if segment and len(segment) >= target:
                return segment
        if segment:
            return segment
    raise LimbeckError(
        f"{_MAX_PARTNERS} documents drawn as random next have no token in them; "
        "does the vocabulary fit the documents?"
    )


def _join(sentences: Sentences) -> list[int]:
    return list(itertools.chain.from_iterable(sentences))
