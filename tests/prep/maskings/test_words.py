"""Whole words, against the published algorithm fed with the same shuffled order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.maskings.words import choose_words, word_numbers
from prep.seeds import generator

STARTS = np.ones(100, bool)
STARTS[50:] = False  # ids 50 and up continue a word


def sequence(draw_ids):
    """[CLS] ids [SEP] ids [SEP], with candidates."""
    half = len(draw_ids) // 2
    ids = np.array([1, *draw_ids[:half], 2, *draw_ids[half:], 2])
    candidates = np.delete(np.arange(len(ids)), (0, half + 1, len(ids) - 1))
    return ids, candidates


def published(words, order, wanted):
    """The loop of BERT's create_masked_lm_predictions over shuffled sets of indexes."""
    sets = [np.flatnonzero(words == word).tolist() for word in range(words.max() + 1)]
    covered = []
    for index_set in [sets[word] for word in order]:
        if len(covered) >= wanted:
            break
        if len(covered) + len(index_set) > wanted:
            continue
        covered += index_set
    return sorted(covered)


def test_words_of_a_hand_made_sequence():
    #                [CLS] the  play ##ing [SEP] ##er  dog [SEP]
    ids = np.array([1, 10, 11, 60, 2, 70, 12, 2])
    candidates = np.array([1, 2, 3, 5, 6])
    # A piece at the start of a segment begins a word there, whatever it is.
    assert word_numbers(ids, candidates, STARTS).tolist() == [0, 1, 1, 2, 3]


@settings(max_examples=300, deadline=None)
@given(
    tokens=st.lists(st.integers(3, 99), min_size=2, max_size=60),
    wanted=st.integers(1, 40),
    key=st.binary(min_size=16, max_size=16),
)
def test_choice_is_the_published_one_for_the_same_order(tokens, wanted, key):
    ids, candidates = sequence(tokens)
    words = word_numbers(ids, candidates, STARTS)

    def rng():
        return generator(seed=1, key=key, stage="masking")

    order = np.argsort(rng().random(int(words.max()) + 1), kind="stable").tolist()
    chosen = choose_words(words, wanted=wanted, rng=rng())
    assert chosen.tolist() == published(words, order, wanted)
    # Whole words, or nothing of them.
    for word in set(words[chosen].tolist()):
        assert np.isin(np.flatnonzero(words == word), chosen).all()


def test_single_piece_words_fill_the_budget():
    ids, candidates = sequence(list(range(3, 43)))
    words = word_numbers(ids, candidates, STARTS)
    rng = generator(seed=1, key=b"k" * 16, stage="masking")
    assert len(choose_words(words, wanted=6, rng=rng)) == 6


def test_no_word_fits_and_nothing_is_masked():
    words = np.zeros(5, np.int64)
    rng = generator(seed=1, key=b"k" * 16, stage="masking")
    assert choose_words(words, wanted=4, rng=rng).tolist() == []
