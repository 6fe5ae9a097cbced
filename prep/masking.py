"""Masked-LM inputs as BERT makes them: choose positions, then mask, keep or replace each.

Of the candidate positions, min(max_predictions, max(1, round(rate * num_tokens))) are chosen
uniformly, where num_tokens counts [CLS] and [SEP] too and `round` is Python's (half to even). Each
chosen token becomes [MASK] with probability 0.8, stays with 0.1, and with 0.1 becomes a uniform
draw from the *whole* vocabulary, special tokens included (Devlin et al. 2019, section 3.1 and the
published `create_pretraining_data.py`).

Other ways to choose the positions are in `prep.maskings`; they replace tokens in the same way.
"""

# T tokens of one sequence, C candidate positions, M masked positions

from dataclasses import dataclass

import numpy as np

__all__ = [
    "KEEP",
    "MASK",
    "Masked",
    "choose_tokens",
    "mask_tokens",
    "num_to_mask",
    "replace_tokens",
]

MASK = 0.8
"""Share of chosen tokens that become [MASK]."""
KEEP = 0.1
"""Share of chosen tokens that stay; the rest are replaced."""


@dataclass(frozen=True, kw_only=True)
class Masked:
    """One sequence after masking."""

    ids: np.ndarray
    """(T,) int64 tokens, masked."""
    positions: np.ndarray
    """(M,) int64 positions, ascending."""
    true_ids: np.ndarray
    """(M,) int64 tokens that stood at `positions`."""


def num_to_mask(num_tokens: int, *, rate: float, max_predictions: int) -> int:
    """Returns how many positions BERT masks in a sequence of `num_tokens`, specials included."""
    return min(max_predictions, max(1, round(num_tokens * rate)))


def mask_tokens(
    ids: np.ndarray,
    candidates: np.ndarray,
    *,
    rng: np.random.Generator,
    mask_id: int,
    vocab_size: int,
    rate: float = 0.15,
    max_predictions: int = 20,
) -> Masked:
    """Masks one sequence.

    Args:
      ids: (T,) tokens, special ones included.
      candidates: (C,) positions that may be masked: all but [CLS] and [SEP]. Not empty.
      rng: generator of this record and stage.
      mask_id: id of [MASK].
      vocab_size: replacements are drawn from [0, vocab_size).
      rate: share of T to mask.
      max_predictions: upper bound on M.

    Returns:
      The masked sequence; putting `true_ids` back at `positions` gives `ids` again.
    """
    wanted = num_to_mask(len(ids), rate=rate, max_predictions=max_predictions)
    chosen = choose_tokens(len(candidates), wanted=wanted, rng=rng)
    positions = np.asarray(candidates, dtype=np.int64)[chosen]
    return replace_tokens(ids, positions, rng=rng, mask_id=mask_id, vocab_size=vocab_size)


def choose_tokens(num_candidates: int, *, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (M,) ascending numbers of candidates, a uniform choice of `wanted` of them."""
    # The ranks of independent uniforms are a uniform permutation.
    order = np.argsort(rng.random(num_candidates), kind="stable")
    return np.sort(order[:wanted])


def replace_tokens(
    ids: np.ndarray,
    positions: np.ndarray,
    *,
    rng: np.random.Generator,
    mask_id: int,
    vocab_size: int,
    spans: np.ndarray | None = None,
) -> Masked:
    """Masks, keeps or replaces the tokens at chosen positions.

    Args:
      ids: (T,) tokens.
      positions: (M,) chosen positions, ascending.
      rng: generator of this record and stage.
      mask_id: id of [MASK].
      vocab_size: replacements are drawn from [0, vocab_size).
      spans: (M,) numbers from 0; positions of one span share their fate. None: each has its own.
    """
    true_ids = np.asarray(ids, dtype=np.int64)[positions]
    if spans is None:
        fate = rng.random(len(positions))
    else:
        fate = rng.random(int(spans.max(initial=-1)) + 1)[spans]
    # Drawn for every position, used or not, so that one fate does not shift another's draw.
    replacements = (rng.random(len(positions)) * vocab_size).astype(np.int64)
    chosen = np.where(fate < MASK, mask_id, np.where(fate < MASK + KEEP, true_ids, replacements))

    masked = np.array(ids, dtype=np.int64)
    masked[positions] = chosen
    return Masked(ids=masked, positions=np.asarray(positions, np.int64), true_ids=true_ids)
