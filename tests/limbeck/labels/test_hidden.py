import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.labels import hidden


def test_encode_rounds_to_the_nearest_float16():
    states = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    stored = hidden.encode(states, dtype="float16", layer=2)
    assert stored.dtype == np.float16
    # Half an ulp of float16 is 2^-11 relative.
    np.testing.assert_allclose(stored.astype(np.float32), states, rtol=2**-11)


def test_encode_as_float32_is_lossless():
    states = np.full((1, 2), 1e30, np.float32)
    np.testing.assert_array_equal(hidden.encode(states, dtype="float32", layer=0), states)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "float16", "position 1: component 2 of layer 4 is nan in float16"),
        (np.inf, "float32", "position 1: component 2 of layer 4 is inf in float32$"),
        (65520.0, "float16", "is inf in float16 .a float16 overflow"),  # rounds up
        (-1e6, "float16", "is -inf in float16"),
    ],
)
def test_encode_of_what_does_not_fit_names_position_and_layer(value, dtype, message):
    states = np.zeros((3, 4), np.float32)
    states[1, 2] = value
    with pytest.raises(LimbeckError, match=message):
        hidden.encode(states, dtype=dtype, layer=4)


def test_encode_of_the_largest_float16_is_kept():
    states = np.full((1, 1), 65504.0, np.float32)
    assert hidden.encode(states, dtype="float16", layer=0)[0, 0] == np.float16(65504.0)
