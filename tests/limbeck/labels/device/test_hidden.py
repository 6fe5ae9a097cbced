import numpy as np
import pytest

from limbeck.labels import hidden
from limbeck.labels.device import encode_states


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_states_are_bit_equal_to_the_numpy_codec(dtype):
    rng = np.random.default_rng(0)
    # Magnitudes from float16's subnormals to its largest.
    states = (rng.normal(size=(64, 33)) * 10.0 ** rng.uniform(-8, 4, (64, 33))).astype(np.float32)
    actual = encode_states(states, dtype=dtype).numpy()
    expected = hidden.encode(states, dtype=dtype, layer=1)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_overflow_stays_visible_as_infinity():
    actual = encode_states(np.array([[65520.0, np.nan]], np.float32), dtype="float16").numpy()
    assert np.isinf(actual[0, 0]) and np.isnan(actual[0, 1])
