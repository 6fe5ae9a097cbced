import numpy as np
import pytest

from limbeck.labels.draws import draws


def keys(count):
    return np.random.default_rng(0).integers(0, 256, (count, 16)).astype(np.uint8)


def test_words_do_not_depend_on_the_batch():
    rows, tokens = np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5)
    whole = draws(9, keys(5), rows, tokens)
    assert whole.shape == (20, 2) and whole.dtype == np.int32
    part = draws(9, keys(5)[3:], np.array([1, 0, 0]), np.array([2, 0, 3]))
    np.testing.assert_array_equal(part, whole[[4 * 4 + 2, 3 * 4, 3 * 4 + 3]])


def test_golden_words_never_change():
    words = draws(1, np.arange(16, dtype=np.uint8)[None], np.zeros(2, int), np.array([0, 511]))
    np.testing.assert_array_equal(words, GOLDEN)


@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_seeds_keys_and_tokens_all_matter(seed):
    rows, tokens = np.repeat(np.arange(50), 40), np.tile(np.arange(40), 50)
    words = draws(seed, keys(50), rows, tokens)
    other = draws(seed ^ 1, keys(50), rows, tokens)
    both = np.concatenate([words, other]).reshape(-1).view(np.uint32)
    # 8,000 words of 2^32: a chance of 0.7 % for one pair that is equal, and the case is fixed.
    assert len(np.unique(both)) == both.size


def test_words_are_uniform_and_independent():
    rows, tokens = np.repeat(np.arange(400), 64), np.tile(np.arange(64), 400)
    words = draws(5, keys(400), rows, tokens).view(np.uint32).astype(np.float64) / 2**32
    # Four sigma of a mean of n uniform numbers, of their 16 bins, and of a correlation.
    n = len(words)
    assert abs(words.mean() - 0.5) < 4 / np.sqrt(12 * 2 * n)
    bins = np.bincount((words[:, 0] * 16).astype(int), minlength=16)
    assert np.abs(bins - n / 16).max() < 4 * np.sqrt(n / 16)
    for a, b in [(words[:, 0], words[:, 1]), (words[1:, 0], words[:-1, 0])]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(ValueError, match=f"seed is {seed}; it must be in"):
        draws(seed, keys(1), np.zeros(1, int), np.zeros(1, int))


def test_no_positions_give_no_words():
    assert draws(0, keys(0), np.zeros(0, int), np.zeros(0, int)).shape == (0, 2)


GOLDEN = np.array([[-1180231982, 1610921864], [2135489127, -212210011]])
