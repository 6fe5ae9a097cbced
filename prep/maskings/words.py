"""Whole-word masking: all pieces of a word are chosen, or none (BERT's `do_whole_word_mask`).

Words are taken in random order while they fit into what is left of the budget; one that does not
fit is passed over, so the budget is never exceeded and may be missed by less than a word. Each
piece has a fate of its own, as in the published script. Unlike there, a word never reaches over a
separator, and what begins a word is the tokenizer's knowledge, not the characters "##".
"""

# C candidate positions, W words, M masked positions, V vocabulary

import numpy as np
import numpy.typing as npt

__all__ = ["choose_words", "word_numbers", "word_sizes"]

Int64 = npt.NDArray[np.int64]


def word_numbers(ids: Int64, candidates: Int64, word_starts: npt.NDArray[np.bool_]) -> Int64:
    """Returns the word (C,) of each candidate position, numbered from 0 in order.

    Args:
      ids: (T,) tokens of the sequence.
      candidates: (C,) ascending positions that may be masked.
      word_starts: (V,) True where a piece begins a word.
    """
    starts = word_starts[ids[candidates]].copy()
    starts[1:] |= np.diff(candidates) > 1  # a separator stands between
    starts[:1] = True  # a sequence may begin inside a word
    return np.cumsum(starts) - 1


def word_sizes(words: Int64) -> Int64:
    """Returns the number of candidates (W,) in each word of `word_numbers`."""
    return np.bincount(words)


def choose_words(words: Int64, *, wanted: int, rng: np.random.Generator) -> Int64:
    """Returns (M,) ascending numbers of candidates that make up whole words, M <= `wanted`.

    Args:
      words: (C,) word of each candidate.
      wanted: the budget, in tokens.
      rng: generator of this record and stage.
    """
    sizes = word_sizes(words)
    order = np.argsort(rng.random(len(sizes)), kind="stable")
    chosen = np.zeros(len(sizes), bool)
    left = wanted
    for word, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if left == 0:
            break
        if size <= left:
            chosen[word] = True
            left -= size
    return np.flatnonzero(chosen[words])
