import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from limbeck.labels import HiddenSignal, Side, state_codecs, states
from limbeck.labels.device.states import decode_states, encode_states, encode_vectors
from limbeck.labels.fitted import Fitted
from limbeck.labels.state_codecs import Settled

ALL = [
    Settled(codec="int8"),
    Settled(codec="int8", outliers=(0, 3)),
    Settled(codec="bfloat16"),
    Settled(codec="float16"),
    Settled(codec="float32"),
]
ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


def assert_equal_bits(actual, expected):
    assert set(actual) == set(expected)
    for name, values in expected.items():
        found = actual[name].numpy()
        assert found.dtype == values.dtype, name
        np.testing.assert_array_equal(found, values, err_msg=name)  # NaN equals NaN


@pytest.mark.parametrize("settled", ALL, ids=lambda settled: settled.name)
@settings(max_examples=60, deadline=None)
@given(values=hnp.arrays(np.float32, (4, 5), elements=ANY_FLOAT))
def test_twins_are_equal_bit_for_bit_on_anything(settled, values):
    if settled.codec == "float32":
        # Subnormals pass or are flushed, as the accelerator does.
        values = np.where(np.abs(values) < 1.2e-38, np.float32(0.0), values)
    assert_equal_bits(
        encode_vectors(tf.constant(values), settled), state_codecs.encode(values, settled)
    )


@pytest.mark.parametrize("jit", [False, True])  # XLA rewrites divisions by constants
@pytest.mark.parametrize("settled", ALL, ids=lambda settled: settled.name)
def test_twins_are_equal_inside_a_graph(settled, jit):
    values = np.random.default_rng(0).normal(size=(300, 96)).astype(np.float32)
    values *= np.exp(np.random.default_rng(1).normal(scale=8, size=(300, 1))).astype(np.float32)
    values = values.clip(-6e4, 6e4)
    encode = tf.function(lambda x: encode_vectors(x, settled), jit_compile=jit)
    assert_equal_bits(encode(tf.constant(values)), state_codecs.encode(values, settled))


@pytest.mark.parametrize("settled", ALL, ids=lambda settled: settled.name)
def test_decoding_twins_are_equal_bit_for_bit(settled):
    values = np.random.default_rng(2).normal(size=(2, 3, 5)).astype(np.float32)
    fitted = Fitted(
        signal=HiddenSignal(layer=1, codec="auto"),
        chosen={"codec": settled.codec, "outliers": list(settled.outliers)},
    )
    flat = state_codecs.encode(values.reshape(6, 5), settled)
    arrays = {name: v.reshape(2, 3, *v.shape[1:]) for name, v in flat.items()}
    expected = states.decode(fitted, arrays)["states"]
    np.testing.assert_array_equal(decode_states(fitted, arrays).numpy(), expected)


def test_twins_with_a_basis_agree_to_rounding():
    values = np.random.default_rng(3).normal(size=(64, 8)).astype(np.float32) * np.float32(
        [9, 5] * 4
    )
    signal = HiddenSignal(layer=1, codec="float32", basis=3)
    fitted, _ = states.fit(signal, {"states": values.astype(np.float32)}, side=Side())
    expected = states.encode(fitted, {"states": values})
    actual = encode_states(fitted, tf.constant(values, tf.float32))
    # Sums of 8 products of about 9: 8 half ulps.
    np.testing.assert_allclose(actual["states"].numpy(), expected["states"], atol=5e-6, rtol=1e-6)
    np.testing.assert_allclose(
        decode_states(fitted, expected).numpy(),
        states.decode(fitted, expected)["states"],
        atol=5e-6,
        rtol=1e-6,
    )
    values[1, 2] = np.nan
    marked = encode_states(fitted, tf.constant(values, tf.float32))["states"].numpy()
    assert np.isnan(marked[1]).all() and np.isfinite(marked[2:]).all()
