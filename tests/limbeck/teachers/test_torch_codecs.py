import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from limbeck.labels import (
    AttentionSignal,
    FinalSignal,
    Fitted,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    Side,
    TaskSignal,
    codecs,
    states,
)

torch = pytest.importorskip("torch")
torch_codecs = pytest.importorskip("limbeck.teachers.torch_codecs")

ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)
FAMILIES = [
    Fitted(signal=HiddenSignal(layer=0)),
    Fitted(signal=HiddenSignal(layer=2, codec="bfloat16")),
    Fitted(signal=HiddenSignal(layer=2, codec="float32")),
    Fitted(signal=FinalSignal(), chosen={"codec": "int8", "outliers": [1, 4]}),
    Fitted(signal=RelationsSignal(layer=1)),
]


def assert_twins_agree(fitted, raw):
    with np.errstate(over="ignore", invalid="ignore"):
        expected = codecs.encode(fitted, raw, true_ids=None, draws=None)
    tensors = {name: torch.from_numpy(values) for name, values in raw.items()}
    actual = torch_codecs.encode(fitted, tensors, true_ids=None, draws=None)
    assert set(actual) == set(expected)
    for name, values in expected.items():
        found = actual[name].cpu().numpy()
        assert found.dtype == values.dtype, name
        np.testing.assert_array_equal(found, values, err_msg=name)


@pytest.mark.parametrize("fitted", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(values=hnp.arrays(np.float32, (4, 5), elements=ANY_FLOAT))
def test_states_are_equal_bit_for_bit_on_anything(fitted, values):
    assert_twins_agree(fitted, {"states": values})


@pytest.mark.parametrize(
    "signal",
    [
        QkvSignal(layer=1),
        QkvSignal(layer=1, codec="float16"),
        AttentionSignal(layer=1),
        TaskSignal(),
    ],
)
def test_what_is_stored_as_it_is_equals_numpy(signal):
    rng = np.random.default_rng(0)
    shapes = {"queries": 8, "keys": 4, "values": 4, "probabilities": (2, 6), "logits": 3}
    raw = {
        name: rng.random(size=np.append(5, shapes[name])).astype(np.float32)
        for name in signal.source.arrays
    }
    assert_twins_agree(Fitted(signal=signal), raw)


def test_components_of_a_basis_agree_to_rounding():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(64, 8)).astype(np.float32)
    signal = HiddenSignal(layer=1, codec="float32", basis=3)
    fitted, _ = states.fit(signal, {"states": values}, side=Side())
    expected = states.encode(fitted, {"states": values})["states"]
    raw = {"states": torch.from_numpy(values)}
    actual = torch_codecs.encode(fitted, raw, true_ids=None, draws=None)["states"]
    # Sums of 8 products of about 1.
    np.testing.assert_allclose(actual.numpy(), expected, atol=2e-6)
