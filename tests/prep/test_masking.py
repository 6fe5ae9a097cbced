import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.masking import mask_tokens, num_to_mask
from prep.seeds import generator

VOCAB_SIZE = 30_522
CLS, SEP, MASK = 101, 102, 103


def sequence(num_first, num_second, *, start=1000):
    """[CLS] A [SEP] B [SEP] of distinct tokens, and the positions that may be masked."""
    tokens = list(range(start, start + num_first + num_second))
    ids = np.array([CLS, *tokens[:num_first], SEP, *tokens[num_first:], SEP])
    special = {0, num_first + 1, len(ids) - 1}
    return ids, np.array([p for p in range(len(ids)) if p not in special])


def masked(ids, candidates, *, key=b"k" * 16, **options):
    rng = generator(seed=3, key=key, stage="masking")
    return mask_tokens(ids, candidates, rng=rng, mask_id=MASK, vocab_size=VOCAB_SIZE, **options)


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    [
        (5, 1),  # 0.75 rounds to 1
        (3, 1),  # 0.45 rounds to 0, but one is always masked
        (10, 2),  # 1.5 rounds half to even
        (30, 4),  # 4.5 rounds half to even
        (128, 19),  # 19.2
        (512, 20),  # 76.8 is over the budget
    ],
)
def test_num_to_mask_follows_bert(num_tokens, expected):
    assert num_to_mask(num_tokens, rate=0.15, max_predictions=20) == expected


@settings(max_examples=200, deadline=None)
@given(
    num_first=st.integers(1, 80),
    num_second=st.integers(1, 80),
    key=st.binary(min_size=16, max_size=16),
    rate=st.floats(0.0, 1.0),
    max_predictions=st.integers(1, 200),
)
def test_masking_any_sequence_keeps_its_promises(num_first, num_second, key, rate, max_predictions):
    ids, candidates = sequence(num_first, num_second)
    before = ids.copy()
    result = masked(ids, candidates, key=key, rate=rate, max_predictions=max_predictions)
    wanted = min(max_predictions, max(1, round(rate * len(ids))), len(candidates))
    assert len(result.positions) == len(result.true_ids) == wanted
    assert result.positions.tolist() == sorted(set(result.positions.tolist()))
    assert set(result.positions.tolist()) <= set(candidates.tolist())  # never [CLS] or [SEP]
    assert ((result.ids >= 0) & (result.ids < VOCAB_SIZE)).all()
    restored = result.ids.copy()
    restored[result.positions] = result.true_ids
    assert restored.tolist() == before.tolist() == ids.tolist()


def test_fates_are_80_10_10_within_a_confidence_bound():
    ids, candidates = sequence(60, 65)
    counts = {"mask": 0, "keep": 0, "replace": 0}
    replacements = []
    for number in range(3000):
        result = masked(ids, candidates, key=number.to_bytes(16, "big"), max_predictions=40)
        for new, old in zip(result.ids[result.positions], result.true_ids, strict=True):
            fate = "mask" if new == MASK else "keep" if new == old else "replace"
            counts[fate] += 1
            if fate == "replace":
                replacements.append(int(new))
    total = sum(counts.values())
    assert total == 3000 * 19
    for fate, share in (("mask", 0.8), ("keep", 0.1), ("replace", 0.1)):
        bound = 4 * math.sqrt(share * (1 - share) / total)  # p < 0.0001
        assert abs(counts[fate] / total - share) < bound, counts
    # Replacements come from the whole vocabulary: mean and extremes of a uniform draw.
    mean, spread = np.mean(replacements), VOCAB_SIZE / math.sqrt(12 * len(replacements))
    assert abs(mean - VOCAB_SIZE / 2) < 4 * spread
    assert min(replacements) < 100 and max(replacements) > VOCAB_SIZE - 100


def test_every_candidate_is_chosen_equally_often():
    ids, candidates = sequence(10, 7)
    counts = np.zeros(len(ids))
    trials = 5000
    for number in range(trials):
        result = masked(ids, candidates, key=number.to_bytes(16, "big"))
        counts[result.positions] += 1
    share = 3 / 17
    expected = trials * share
    assert counts[[0, 11, 19]].tolist() == [0, 0, 0]
    chi_square = ((counts[candidates] - expected) ** 2 / (expected * (1 - share))).sum()
    assert chi_square < 47  # about 16 degrees of freedom, p = 0.0001


def test_masking_is_the_same_whenever_and_wherever_it_is_done():
    ids, candidates = sequence(20, 20)
    one, two = masked(ids, candidates), masked(ids, candidates)
    assert one.ids.tolist() == two.ids.tolist()
    assert one.positions.tolist() == two.positions.tolist()
