import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.labels import HiddenSignal, LabelDims, RelationsSignal, Side, states
from limbeck.labels.state_codecs import Settled

WIDTH = 256
DIMS = LabelDims(seq_length=6, max_predictions=2, vocab_size=50, hidden_dim=WIDTH)


def sample(num_positions=200, spread=1.0):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(num_positions, WIDTH)) * spread).astype(np.float32)


def spiky(num_positions=200):
    """One component of 1 in each state, each time another: no few channels are to blame."""
    values = sample(num_positions, spread=0.01)
    values[np.arange(num_positions), np.arange(num_positions) % WIDTH] = 1.0
    return values


@pytest.mark.parametrize(
    ("signal", "number"),
    [
        (HiddenSignal(layer=1), 0),
        (HiddenSignal(layer=1, codec="bfloat16"), 0),
        (HiddenSignal(layer=1, codec="int8"), 4096),
        (HiddenSignal(layer=1, codec="auto"), 4096),
        (HiddenSignal(layer=1, codec="float16", basis=3), 16384),
        (RelationsSignal(layer=2), 4096),
    ],
)
def test_only_what_is_left_open_asks_for_a_sample(signal, number):
    assert states.sample_positions(signal) == number


def test_a_codec_that_says_all_settles_nothing():
    signal = HiddenSignal(layer=1, codec="float16")
    fitted, lines = states.fit(signal, {}, side=Side())
    assert (dict(fitted.chosen), dict(fitted.tensors), lines) == ({}, {}, [])
    assert states.settled_of(fitted) == Settled(codec="float16")


@pytest.mark.parametrize(
    ("codec", "values", "chosen"),
    [
        ("int8", sample(), {}),
        ("auto", sample(), {"codec": "int8"}),
        (
            "auto",
            spiky(),
            {"codec": "bfloat16", "refused": ["int8", "int8+2", "int8+8"]},
        ),
    ],
)
def test_what_is_chosen_stands_in_the_manifest(codec, values, chosen):
    signal = HiddenSignal(layer=1, codec=codec)
    fitted, lines = states.fit(signal, {"states": values}, side=Side())
    assert dict(fitted.chosen) == chosen and lines
    layout = signal.layout(DIMS, fitted.chosen)
    assert layout.field("states").dtype == {"bfloat16": "uint16"}.get(
        chosen.get("codec", codec), "int8"
    )


def test_int8_by_name_never_becomes_wider():
    fitted, lines = states.fit(
        HiddenSignal(layer=1, codec="int8"), {"states": spiky()}, side=Side()
    )
    assert states.settled_of(fitted).codec == "int8" and len(fitted.chosen["outliers"]) == 8
    assert "misses its goal" in lines[0] and "int8+8 is the best" in lines[-1]
    assert "int8+8" not in fitted.chosen["refused"]


def test_basis_and_codec_are_fitted_together():
    rng = np.random.default_rng(1)
    values = (rng.normal(size=(300, 4)) @ rng.normal(size=(4, WIDTH)) + 2.0).astype(np.float32)
    signal = HiddenSignal(layer=3, codec="int8", basis=4)
    fitted, lines = states.fit(signal, {"states": values}, side=Side())
    assert lines[0].startswith("basis of 4 of 256 components keeps 100.000 %")
    arrays = states.encode(fitted, {"states": values})
    assert arrays["states"].shape == (300, 4)
    assert tuple(signal.layout(DIMS, fitted.chosen).field("states").shape) == (6, 4)
    kept = states.decode(fitted, arrays)["states"]
    noise = ((kept - values) ** 2).sum() / (values**2).sum()
    assert noise < 10**-3.6  # 36 dB: four components of int8 and nothing else lost


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (HiddenSignal(layer=4), "the state of layer 4 has component 2 nan in float16"),
        (HiddenSignal(layer=4, codec="int8"), "the state of layer 4 has a component that is not"),
        (RelationsSignal(layer=2), "the input of layer 2's projections has a component that"),
    ],
)
def test_fault_names_layer_and_position(signal, reason):
    values = sample(5)
    fitted = states.Fitted(signal=signal)
    assert states.find_fault(fitted, states.encode(fitted, {"states": values}), dims=DIMS) is None
    values[3, 2] = np.nan
    fault = states.find_fault(fitted, states.encode(fitted, {"states": values}), dims=DIMS)
    assert fault.position == 3 and fault.reason.startswith(reason)


def test_int8_meets_the_goals_of_states_at_half_of_bfloat16():
    # DESIGN of the codec: 36 dB, cosine 0.995. Normal states of width 384, one scale each.
    values = np.random.default_rng(2).normal(size=(500, 384)).astype(np.float32)
    fitted, lines = states.fit(HiddenSignal(layer=1, codec="auto"), {"states": values}, side=Side())
    assert fitted.chosen == {"codec": "int8"}, lines
    arrays = states.encode(fitted, {"states": values})
    assert sum(v.nbytes for v in arrays.values()) == 500 * (384 + 4)


def test_basis_wider_than_a_state_is_refused_by_the_layout():
    with pytest.raises(LimbeckError, match="basis is 257 components, but a state has 256"):
        HiddenSignal(layer=1, basis=257).layout(DIMS)
