import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from limbeck.labels.state_codecs import Settled, decode, encode, first_fault

INT8, BF16, FP16, FP32 = (
    Settled(codec=codec) for codec in ("int8", "bfloat16", "float16", "float32")
)
STATES = hnp.arrays(
    np.float32, (3, 5), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=True)
)


def test_int8_of_known_values():
    arrays = encode(np.array([[127.0, -63.5, 0.5, 1.5, 0.0], [0.0] * 5], np.float32), INT8)
    # The scale is 127 * float32(1 / 127) = 1.0; halves go to the even neighbour.
    np.testing.assert_array_equal(arrays["scales"], [1.0, 0.0])
    np.testing.assert_array_equal(arrays["states"], [[127, -64, 0, 2, 0], [0] * 5])
    assert arrays["states"].dtype == np.int8 and arrays["scales"].dtype == np.float32


def test_int8_keeps_outlier_channels_in_float16_and_out_of_the_scale():
    settled = Settled(codec="int8", outliers=(1, 3))
    states = np.array([[1.0, 1000.0, -0.5, -2000.0]], np.float32)
    arrays = encode(states, settled)
    np.testing.assert_array_equal(arrays["outliers"], np.array([[1000.0, -2000.0]], np.float16))
    np.testing.assert_array_equal(arrays["states"], [[127, 0, -64, 0]])
    # Half a step of 1/127.
    np.testing.assert_allclose(decode(arrays, settled), states, atol=0.5 / 127)
    assert states[0, 1] == 1000.0  # the argument is left alone


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (-2.0, 0xC000),
        (1.00390625, 0x3F80),  # a tie: to the even neighbour, down
        (1.01171875, 0x3F82),  # a tie: to the even neighbour, up
        (3.3895e38, 0x7F7F),  # the largest
        (3.4e38, 0x7F80),  # overflows
        (np.inf, 0x7F80),
        (np.nan, 0x7FC0),
        (-np.nan, 0x7FC0),
        (1e-40, 0x0000),  # float32 holds it, but no accelerator does
    ],
)
def test_bfloat16_of_known_values(value, bits):
    arrays = encode(np.array([[value]], np.float32), BF16)
    assert arrays["states"].dtype == np.uint16 and arrays["states"][0, 0] == bits


@settings(max_examples=60, deadline=None)
@given(STATES)
def test_int8_is_off_by_at_most_half_a_step(states):
    arrays = encode(states, INT8)
    # Half a step, and the rounding of scale, quotient and product: 3 half ulps of 127 steps.
    bound = arrays["scales"].astype(np.float64)[:, None] * (0.5 + 127 * 3 * 2**-24)
    assert (np.abs(decode(arrays, INT8) - states.astype(np.float64)) <= bound + 1e-30).all()
    assert (np.abs(arrays["states"].astype(int)) <= 127).all()


@settings(max_examples=60, deadline=None)
@given(STATES)
def test_bfloat16_is_off_by_at_most_half_a_unit(states):
    # 8 bits of significand: 2^-8 relative; what is no normal float32 is 0.
    kept = decode(encode(states, BF16), BF16)
    np.testing.assert_allclose(kept, states, rtol=2**-8, atol=1.2e-38)


@pytest.mark.parametrize("settled", [INT8, BF16, FP16, FP32, Settled(codec="int8", outliers=(0,))])
def test_decoding_is_the_same_for_any_leading_shape(settled):
    states = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    arrays = encode(states, settled)
    shaped = {name: values.reshape(2, 3, *values.shape[1:]) for name, values in arrays.items()}
    np.testing.assert_array_equal(decode(shaped, settled), decode(arrays, settled).reshape(2, 3, 4))
    assert decode(arrays, settled).dtype == np.float32


def test_float32_is_lossless():
    states = np.array([[1e30, 1e-42, -0.0]], np.float32)
    np.testing.assert_array_equal(decode(encode(states, FP32), FP32), states)


@pytest.mark.parametrize(
    ("settled", "value", "message"),
    [
        (INT8, np.nan, "has a component that is not finite"),
        (INT8, -np.inf, "has a component that is not finite"),
        (BF16, 3.4e38, "component 2 inf in bfloat16$"),
        (FP16, 65520.0, r"component 2 inf in float16 \(a float16 overflow"),  # rounds up
        (FP16, np.nan, "component 2 nan in float16$"),
        (FP32, np.inf, "component 2 inf in float32$"),
        (Settled(codec="int8", outliers=(2,)), -1e6, "component 2 -inf in float16 .*overflow"),
        (Settled(codec="int8", outliers=(0,)), np.nan, "has a component that is not finite"),
    ],
)
def test_what_does_not_fit_is_found_with_its_position(settled, value, message):
    states = np.ones((3, 4), np.float32)
    states[1, 2] = value
    position, reason = first_fault(encode(states, settled), settled)
    assert position == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(reason)


@pytest.mark.parametrize("settled", [INT8, BF16, FP16, FP32])
def test_sound_states_have_no_fault(settled):
    states = np.array([[60000.0, -60000.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    assert first_fault(encode(states, settled), settled) is None
    assert first_fault(encode(states[:0], settled), settled) is None


def test_a_codec_that_is_open_cannot_encode():
    with pytest.raises(ValueError, match="codec is auto; fit it"):
        Settled.of("auto", {})
    settled = Settled.of("auto", {"codec": "int8", "outliers": [3, 7]})
    assert settled == Settled(codec="int8", outliers=(3, 7)) and settled.name == "int8+2"
