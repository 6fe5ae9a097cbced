"""Rare tokens are masked more often: probability ~ count^-0.7, as XLM and DistilBERT do it.

There a token type v weighs w(v) = max(count(v), 1)^-a, special tokens 0, and of each *batch* a
fixed share of all positions is drawn without replacement in proportion to the weights, so the rate
belongs to the batch and a row of rare words gets more masks than a row of common ones. Drawing the
n smallest of E(i) / w(v(i)) with E exponential is the same draw; as the batch grows to the whole
corpus, position i is chosen when E(i) < c w(v(i)), that is with probability

    chance(v) = 1 - exp(-c w(v)),    c such that  sum_v f(v) chance(v) = rate,

where f(v) is the share of v in the corpus. That limit is what is used here: it needs no batch, so
a row's masks depend on the row alone, and the rate over the corpus is the one asked for. Where
more than `max_predictions` positions are chosen, those with the smallest u / chance stay (Ohlsson's
sequential Poisson sampling); where none is, the one with the smallest is taken.
"""

# V vocabulary, C candidate positions, M masked positions

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError

__all__ = ["choose_weighted", "token_chances"]

_HALVINGS = 200  # of an interval; float64 is exhausted after about 60


def token_chances(
    counts: npt.NDArray[np.int64], *, exponent: float, rate: float, special: Iterable[int]
) -> npt.NDArray[np.float64]:
    """Returns the probability (V,) that a token is masked.

    Args:
      counts: (V,) how often each token occurs in the corpus.
      exponent: a; 0 makes all tokens equal.
      rate: share of the corpus' tokens to mask, in (0, 1).
      special: ids that are never masked.

    Raises:
      UsageError: nothing was counted, or no choice of c gives the rate.
    """
    weights = np.maximum(counts, 1).astype(np.float64) ** -exponent
    weights[list(special)] = 0
    shares = np.where(weights > 0, counts, 0).astype(np.float64)
    if not shares.sum():
        raise UsageError("the token counts are all 0; count the tokens of these documents first")
    if not 0 < rate < 1:
        raise UsageError(f"masked_lm_prob is {rate}; weighted masking needs it between 0 and 1")
    shares /= shares.sum()

    def total(scale: float) -> float:
        return float(shares @ -np.expm1(-scale * weights))

    low, high = 0.0, 1.0
    while total(high) < rate:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < rate else (low, middle)
    return -np.expm1(-high * weights)


def choose_weighted(
    chances: npt.NDArray[np.float64], *, max_predictions: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Returns (M,) ascending numbers of candidates, at most `max_predictions`.

    Args:
      chances: (C,) probability of each candidate; not empty.
      max_predictions: upper bound on M.
      rng: generator of this record and stage.
    """
    uniform = rng.random(len(chances))
    ranks = np.full(len(chances), np.inf)
    np.divide(uniform, chances, out=ranks, where=chances > 0)
    order = np.argsort(ranks, kind="stable")
    possible = int(np.count_nonzero(chances > 0))
    wanted = min(max(1, int(np.count_nonzero(ranks < 1))), max_predictions, possible)
    return np.sort(order[:wanted])
