import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.maskings.interleave import deal_out
from prep.seeds import generator


def rng_of(number):
    return generator(seed=5, key=number.to_bytes(16, "big"), stage="interleave")


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=60),
    passes=st.integers(1, 12),
    number=st.integers(0, 10_000),
)
def test_every_candidate_has_one_pass_and_no_pass_too_many(sizes, passes, number):
    units = np.repeat(np.arange(len(sizes)), sizes)
    budget = -(-len(units) // passes)
    found = deal_out(units, passes=passes, max_predictions=budget, rng=rng_of(number))
    loads = np.bincount(found, minlength=passes)
    assert len(loads) == passes and loads.sum() == len(units)
    assert loads.max() <= budget


def test_words_stay_whole_while_there_is_room():
    units = np.repeat(np.arange(30), 3)
    found = deal_out(units, passes=6, max_predictions=20, rng=rng_of(1))
    assert all(len(set(found[units == unit].tolist())) == 1 for unit in range(30))


def test_passes_get_their_remainders_by_turns():
    loads = np.zeros(4)
    for number in range(2000):
        units = np.arange(5)
        loads += np.bincount(
            deal_out(units, passes=4, max_predictions=2, rng=rng_of(number)), minlength=4
        )
    assert abs(loads - 2500).max() < 5 * (2000 * 0.25 * 0.75) ** 0.5
