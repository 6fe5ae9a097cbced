import numpy as np
import pytest
import tensorflow as tf

from limbeck.models import hashing


def mix_oracle(x):
    x = np.asarray(x, np.uint64)
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & 0xFFFFFFFF
    return x ^ (x >> 16)


def test_mix_equals_python_integers():
    x = np.concatenate([np.arange(1000), 2**32 - 1 - np.arange(1000), 2 ** np.arange(32)])
    np.testing.assert_array_equal(
        hashing.mix(tf.constant(x, tf.uint32)).numpy().astype(np.uint64), mix_oracle(x)
    )


def test_mix_flips_every_bit_half_of_the_time():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    for bit in range(32):
        change = hashing.mix(tf.constant(x)) ^ hashing.mix(tf.constant(x ^ np.uint32(1 << bit)))
        flipped = (change.numpy()[:, None] >> np.arange(32)) & 1
        # 1,024 means of 20,000 coins: 0.5 +- 0.0035, and the hash's own bias
        assert np.abs(flipped.mean(0) - 0.5).max() < 0.02


def test_absorb_depends_on_every_value_and_their_order():
    a, b = tf.constant(1, tf.uint32), tf.constant(2, tf.uint32)
    states = [
        tuple(int(lane) for lane in hashing.absorb(hashing.start(), values))
        for values in ((a, b), (b, a), (a,), (b,), (a, a))
    ]
    assert len(set(states)) == len(states)
    assert all(first != second for first, second in states)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, (0, 0)), (7, (7, 0)), (2**32 + 5, (5, 1)), (-1, (2**32 - 1, 2**32 - 1))],
)
def test_words_are_the_halves_of_the_number(number, expected):
    assert tuple(int(word) for word in hashing.words(number)) == expected


def test_words_of_int32_and_int64_are_equal():
    for number in (5, -5):
        narrow, wide = tf.constant(number, tf.int32), tf.constant(number, tf.int64)
        assert [int(w) for w in hashing.words(narrow)] == [int(w) for w in hashing.words(wide)]
