import math

import numpy as np
import pytest

from limbeck.config.errors import UsageError
from prep.maskings.weights import choose_weighted, token_chances
from prep.seeds import generator

COUNTS = np.array([0, 5, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1, 0])


def rng_of(number):
    return generator(seed=5, key=number.to_bytes(16, "big"), stage="masking")


def chances(**options):
    return token_chances(COUNTS, **{"exponent": 0.7, "rate": 0.15, "special": (1,), **options})


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.6])
@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0])
def test_corpus_is_masked_at_the_rate_asked_for(rate, exponent):
    found = chances(rate=rate, exponent=exponent)
    counts = COUNTS.copy()
    counts[1] = 0
    assert math.isclose((found * counts).sum() / counts.sum(), rate, rel_tol=1e-9)
    assert found[1] == 0


def test_weights_are_counts_to_the_power_of_minus_the_exponent():
    # -log(1 - chance) = c w: the ratio of two is that of the counts, to the power of -0.7.
    counts = np.array([0, 5, 1000, 100, 10, 1])
    found = token_chances(counts, exponent=0.7, rate=0.01, special=(1,))
    clocks = -np.log1p(-found)
    assert math.isclose(clocks[3] / clocks[2], 10**0.7, rel_tol=1e-9)
    assert math.isclose(clocks[4] / clocks[2], 100**0.7, rel_tol=1e-9)
    assert clocks[5] == clocks[0]  # a count of 0 is taken for 1


def test_exponent_0_makes_all_tokens_equal():
    found = chances(exponent=0.0)
    assert np.allclose(np.delete(found, 1), 0.15)


def test_tokens_are_chosen_at_their_own_rates():
    kinds = np.array([2] * 60 + [3] * 40 + [4] * 20 + [5] * 6)
    probability = chances()[kinds]
    trials = 4000
    hits = np.zeros(len(kinds))
    for number in range(trials):
        hits[choose_weighted(probability, max_predictions=126, rng=rng_of(number))] += 1
    for kind in (2, 3, 4, 5):
        p = chances()[kind]
        total = trials * (kinds == kind).sum()
        assert abs(hits[kinds == kind].sum() / total - p) < 4 * math.sqrt(p * (1 - p) / total)


def test_large_batches_of_the_batchwise_rule_have_the_same_rates():
    """Successive sampling without replacement over a batch, as XLM and DistilBERT draw it."""
    rng = np.random.default_rng(0)
    shares = np.where(np.arange(10) == 1, 0, COUNTS) / (COUNTS.sum() - 5)
    batch = rng.choice(10, size=200_000, p=shares)
    weights = np.where(np.arange(10) == 1, 0.0, np.maximum(COUNTS, 1) ** -0.7)
    clocks = rng.exponential(size=len(batch)) / weights[batch]
    drawn = np.argsort(clocks)[: round(0.15 * len(batch))]
    for kind in (2, 3, 4):
        found, p = (batch[drawn] == kind).sum() / (batch == kind).sum(), chances()[kind]
        assert abs(found - p) < 5 * math.sqrt(p * (1 - p) / (batch == kind).sum()) + 0.002


def test_too_many_are_cut_to_the_budget_and_none_becomes_one():
    high = np.full(50, 0.9)
    assert len(choose_weighted(high, max_predictions=5, rng=rng_of(1))) == 5
    low = np.full(50, 1e-12)
    assert len(choose_weighted(low, max_predictions=5, rng=rng_of(1))) == 1
    assert choose_weighted(np.zeros(4), max_predictions=5, rng=rng_of(1)).tolist() == []
    special = np.array([0.0, 0.5, 0.0])
    assert all(
        choose_weighted(special, max_predictions=3, rng=rng_of(n)).tolist() == [1]
        for n in range(50)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 0.0}, "masked_lm_prob is 0.0"), ({"rate": 1.0}, "masked_lm_prob is 1.0")],
)
def test_impossible_rates_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        chances(**options)


def test_counts_of_nothing_are_refused():
    with pytest.raises(UsageError, match="token counts are all 0"):
        token_chances(np.zeros(9, np.int64), exponent=0.7, rate=0.1, special=())
