import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.masking import MASK, replace_tokens
from prep.maskings.spans import NGRAM, SPAN, choose_spans, draw_lengths
from prep.seeds import generator


def rng_of(number):
    return generator(seed=5, key=number.to_bytes(16, "big"), stage="masking")


@pytest.mark.parametrize(("rule", "mean"), [(SPAN, 3.797), (NGRAM, 18 / 11)])
def test_lengths_follow_their_distribution(rule, mean):
    count = 40_000
    lengths = draw_lengths(rule, count=count, rng=rng_of(1))
    shares = np.array(rule.weights) / sum(rule.weights)
    found = np.bincount(lengths, minlength=len(shares) + 1)[1:]
    assert found.sum() == count and len(found) == len(shares)
    chi_square = ((found - count * shares) ** 2 / (count * shares)).sum()
    assert chi_square < 33  # 9 degrees of freedom, p = 0.0001
    assert abs(lengths.mean() - mean) < 0.06


def test_lengths_are_geometric_with_ratio_0_8_and_end_at_10():
    assert len(SPAN.weights) == 10
    assert all(
        math.isclose(b / a, 0.8) for a, b in zip(SPAN.weights, SPAN.weights[1:], strict=False)
    )


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    gap=st.integers(0, 60),
    wanted=st.integers(1, 40),
    rule=st.sampled_from([SPAN, NGRAM]),
    number=st.integers(0, 10_000),
)
def test_spans_are_whole_joined_words_within_the_budget(sizes, gap, wanted, rule, number):
    words = np.repeat(np.arange(len(sizes)), sizes)
    candidates = np.arange(len(words)) + 1
    candidates[words >= gap] += 1  # a separator before word `gap`
    found = choose_spans(words, candidates, rule=rule, wanted=wanted, rng=rng_of(number))
    assert len(found.chosen) == len(found.spans) <= wanted
    assert found.chosen.tolist() == sorted(set(found.chosen.tolist()))
    for word in set(words[found.chosen].tolist()):
        assert np.isin(np.flatnonzero(words == word), found.chosen).all()
    for span in set(found.spans.tolist()):
        places = candidates[found.chosen[found.spans == span]]
        assert places.tolist() == list(range(places[0], places[-1] + 1))
        num_words = len(set(words[found.chosen[found.spans == span]].tolist()))
        assert 1 <= num_words <= len(rule.weights)
    # Nothing that fits is left over unless the budget is met.
    left = wanted - len(found.chosen)
    free = [n for word, n in enumerate(sizes) if word not in set(words[found.chosen].tolist())]
    assert left == 0 or all(size > left for size in free)


def test_spans_in_long_text_are_as_long_as_drawn():
    words = np.arange(60_000)
    found = choose_spans(words, words + 1, rule=SPAN, wanted=1500, rng=rng_of(2))
    lengths = np.bincount(found.spans)[:-1]  # the budget may cut the last one
    assert len(lengths) > 300
    assert abs(lengths.mean() - 3.797) < 4 * 2.6 / math.sqrt(len(lengths))


def test_tokens_of_a_span_share_one_fate_in_80_10_10():
    num_spans, size = 4000, 3
    ids = np.arange(1000, 1000 + num_spans * size)
    spans = np.repeat(np.arange(num_spans), size)
    masked = replace_tokens(
        ids, np.arange(len(ids)), rng=rng_of(3), mask_id=950, vocab_size=900, spans=spans
    )
    is_mask = (masked.ids == 950).reshape(-1, size)
    is_kept = (masked.ids == ids).reshape(-1, size)
    assert (is_mask.all(1) | ~is_mask.any(1)).all() and (is_kept.all(1) | ~is_kept.any(1)).all()
    for share, expected in ((is_mask.all(1).mean(), MASK), (is_kept.all(1).mean(), 0.1)):
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / num_spans)
