"""Golden bits, independence of everything that must not matter, and statistics."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.models.dropout import DropoutKeys, KeyedDropout, keep_mask

RATE = 0.1
STATES, PROBABILITIES = (8, 16, 24), (8, 3, 16, 16)


def row_keys(num_rows, *, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-(2**31), 2**31, (num_rows, 4)).astype(np.int32)


def mask(shape, keys=None, *, rate=RATE, layer_id=3, seed=1, step=2):
    keys = row_keys(shape[0]) if keys is None else keys
    drawn_from = DropoutKeys(seed=seed, step=step, row_keys=tf.constant(keys))
    return keep_mask(tf.zeros(shape), drawn_from, rate=rate, layer_id=layer_id).numpy()


def mix(x):
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def bit_oracle(key, code, *, rate, layer_id, seed, step):
    """Whether one element is kept, in Python integers."""
    first, second = 0x9E3779B9, 0x85EBCA6B
    halves = [half % 2**32 for number in (seed, step) for half in (number, number >> 32)]
    for value in (*halves, *(int(word) % 2**32 for word in key), layer_id):
        first, second = mix(first ^ value), mix(second ^ value)
    bits = first ^ mix(code)
    bits = (bits ^ bits >> 16) * (second | 1) % 2**32
    bits = (bits ^ bits >> 15) * 0x846CA68B % 2**32
    return bits >= round(rate * 2**32)


def test_every_bit_equals_python_integers():
    keys = row_keys(2)
    settings = {"rate": 0.3, "layer_id": 7, "seed": -5, "step": 2**40 + 3}
    for shape, widths in (((2, 5, 6), (16, 16)), ((2, 2, 3, 4), (8, 12, 12))):
        expected = np.empty(shape, bool)
        for row, *index in np.ndindex(shape):
            code = 0
            for i, width in zip(index, widths, strict=True):
                code = code << width | i
            expected[(row, *index)] = bit_oracle(keys[row], code, **settings)
        np.testing.assert_array_equal(mask(shape, keys, **settings), expected)


def test_golden_bits_never_change():
    # A change of these breaks every resumed run: they are part of a checkpoint's meaning.
    keys = np.array([[0, 0, 0, 0], [1, -2, 3, 2**31 - 1]], np.int32)
    states = np.packbits(mask((2, 4, 8), keys, rate=0.5))
    assert states.tolist() == [213, 13, 112, 225, 226, 164, 68, 12]
    probabilities = np.packbits(mask((2, 1, 4, 8), keys, rate=0.5, step=2**40))
    assert probabilities.tolist() == [20, 121, 244, 186, 241, 59, 145, 118]


@pytest.mark.parametrize("shape", [STATES, PROBABILITIES])
def test_mask_of_a_row_is_the_same_in_any_batch(shape):
    keys = row_keys(8)
    whole = mask(shape, keys)
    for rows in ([5], [7, 0, 3], [2, 2]):  # alone, another order, twice
        np.testing.assert_array_equal(mask((len(rows), *shape[1:]), keys[rows]), whole[rows])


def test_mask_does_not_depend_on_the_padded_length():
    keys = row_keys(8)
    np.testing.assert_array_equal(mask((8, 9, 24), keys), mask((8, 16, 24), keys)[:, :9])
    np.testing.assert_array_equal(
        mask((8, 3, 9, 9), keys), mask((8, 3, 16, 16), keys)[:, :, :9, :9]
    )


def test_mask_is_the_same_compiled_under_xla_and_with_unknown_sizes():
    keys = row_keys(8)

    def draw(x, row_keys, step):
        drawn_from = DropoutKeys(seed=1, step=step, row_keys=row_keys)
        return keep_mask(x, drawn_from, rate=RATE, layer_id=3)

    unknown = [
        tf.TensorSpec([None, None, 24]),
        tf.TensorSpec([None, 4], tf.int32),
        tf.TensorSpec([], tf.int64),
    ]
    arguments = (tf.zeros(STATES), tf.constant(keys), tf.constant(2, tf.int64))
    for compiled in (
        tf.function(draw),
        tf.function(draw, jit_compile=True),
        tf.function(draw, input_signature=unknown),
    ):
        np.testing.assert_array_equal(compiled(*arguments).numpy(), mask(STATES, keys))


def test_unsigned_keys_are_the_same_bytes():
    keys = row_keys(8)
    np.testing.assert_array_equal(mask(STATES, keys), mask(STATES, keys.view(np.uint32)))


@pytest.mark.parametrize("off", [{"rate": 0.0}, {"keys": None}])
def test_without_rate_or_keys_the_input_is_returned(off):
    x = tf.random.stateless_normal(STATES, (1, 2))
    keys = off.get("keys", DropoutKeys(seed=1, step=2, row_keys=tf.constant(row_keys(8))))
    assert KeyedDropout(off.get("rate", 0.5), layer_id=0)(x, keys=keys) is x


def test_output_is_scaled_and_gradient_follows_the_mask():
    x = tf.random.stateless_normal(STATES, (1, 2))
    keys = DropoutKeys(seed=1, step=2, row_keys=tf.constant(row_keys(8)))
    layer = KeyedDropout(0.25, layer_id=3)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, keys=keys)
    factor = mask(STATES, rate=0.25) / np.float32(0.75)
    np.testing.assert_allclose(output.numpy(), x.numpy() * factor, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(output, x).numpy(), factor, rtol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="dropout rate must be in"):
        KeyedDropout(rate, layer_id=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 3), "takes"), ((1, 1, 2**16 + 1), "axis 2"), ((1, 1, 2**12 + 1, 1), "axis 2")],
)
def test_shape_without_codes_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        mask(shape)


def counter_keys(num_rows):
    """The least random keys there are: one counter, in the high bits of a word."""
    keys = np.zeros((num_rows, 4), np.int32)
    keys[:, 2] = np.arange(num_rows) << 20
    return keys


@pytest.fixture(scope="module", params=[(64, 64, 128), (64, 4, 48, 48)], ids=["states", "probs"])
def deviates(request):
    """Dropped elements as numbers of mean 0 and variance 1, over counters as keys."""
    return standardise(mask(request.param, counter_keys(request.param[0])))


def standardise(kept):
    return ((~kept) - RATE) / np.sqrt(RATE * (1 - RATE))


def test_share_dropped_is_the_rate(deviates):
    assert abs(deviates.sum() / np.sqrt(deviates.size)) < 4


def test_share_dropped_is_the_rate_along_every_axis(deviates):
    for axis, size in enumerate(deviates.shape):
        others = tuple(i for i in range(deviates.ndim) if i != axis)
        chi_square = (deviates.sum(others) ** 2).sum() / (deviates.size / size)
        assert abs(chi_square - size) / np.sqrt(2 * size) < 4.5  # close to normal


def test_neighbours_are_independent_in_pairs_and_triples(deviates):
    for axis, size in enumerate(deviates.shape):
        for lags in ((1,), (2,), (8,), (1, 2), (1, 3), (2, 3)):
            reach = size - max(lags)
            if reach < 1:
                continue
            product = np.ones(())
            for lag in (0, *lags):
                product = product * np.take(deviates, range(lag, lag + reach), axis)
            assert abs(product.sum() / np.sqrt(product.size)) < 4.5, (axis, lags)


def test_rows_and_features_are_uncorrelated(deviates):
    for flat in (deviates.reshape(64, -1), deviates.reshape(-1, deviates.shape[-1]).T):
        z = flat @ flat.T / np.sqrt(flat.shape[1])
        pairs = z[np.triu_indices(len(z), 1)]
        assert np.abs(pairs).max() < 5.5  # of up to 8,128 pairs
        assert np.sqrt((pairs**2).mean()) == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(
    "other", [{"step": 3}, {"step": 2**32 + 2}, {"layer_id": 4}, {"seed": 2}, {"seed": -1}]
)
def test_another_step_layer_or_seed_is_independent(deviates, other):
    z = deviates * standardise(mask(deviates.shape, counter_keys(64), **other))
    assert abs(z.sum() / np.sqrt(z.size)) < 4


def test_counts_of_patterns_of_four_neighbours_fit_chi_square(deviates):
    dropped = (deviates > 0).reshape(-1, 4)
    counts = np.bincount(dropped @ [1, 2, 4, 8], minlength=16)
    ones = np.array([bin(pattern).count("1") for pattern in range(16)])
    expected = len(dropped) * RATE**ones * (1 - RATE) ** (4 - ones)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 45  # 15 degrees of freedom: P < 1e-4
