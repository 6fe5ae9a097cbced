import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.labels import (
    AttentionSignal,
    FinalSignal,
    HiddenSignal,
    LabelDims,
    QkvSignal,
    RelationsSignal,
    Side,
    TaskSignal,
    codecs,
)

WIDTH, SLOTS, HEADS = 12, 6, 2
DIMS = LabelDims(
    seq_length=SLOTS,
    max_predictions=4,
    vocab_size=30,
    hidden_dim=WIDTH,
    final_dim=WIDTH,
    num_heads=HEADS,
    query_dim=WIDTH,
    key_dim=WIDTH,
    num_labels=3,
)
RNG = np.random.default_rng(0)
SIDE = Side(
    tensors={
        "decoder/kernel": RNG.normal(scale=0.02, size=(30, WIDTH)).astype(np.float32),
        "decoder/bias": RNG.normal(size=30).astype(np.float32),
        **{
            f"{name}/kernel": RNG.normal(size=(WIDTH, WIDTH)).astype(np.float32)
            for name in ("query", "key", "value")
        },
    },
    facts={
        "num_heads": HEADS,
        "num_kv_heads": HEADS,
        "head_dim": WIDTH // HEADS,
        "mask": "padding",
        "rotary": None,
    },
)
SIGNALS = [
    HiddenSignal(layer=0),
    HiddenSignal(layer=2, codec="auto", positions="masked"),
    HiddenSignal(layer=2, codec="bfloat16", basis=5),
    FinalSignal(),
    RelationsSignal(layer=1),
    QkvSignal(layer=1),
    AttentionSignal(layer=1),
    TaskSignal(positions="all"),
]


def raw_of(signal, num_positions, seed=1):
    rng = np.random.default_rng(seed)
    widths = {"states": WIDTH, "queries": WIDTH, "keys": WIDTH, "values": WIDTH, "logits": 3}
    if signal.kind == "attention":
        weights = rng.random((num_positions, HEADS, SLOTS)).astype(np.float32)
        return {"probabilities": weights / weights.sum(-1, keepdims=True)}
    return {
        name: rng.normal(size=(num_positions, widths[name])).astype(np.float32)
        for name in signal.source.arrays
    }


def fit(signal):
    raw = raw_of(signal, codecs.sample_positions(signal) and 64)
    return codecs.fit(signal, raw, side=SIDE)[0]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.kind)
@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_records_and_back_are_what_was_encoded(signal, counts):
    fitted, counts = fit(signal), np.array(counts)
    raw = raw_of(signal, counts.sum())
    arrays = codecs.encode(fitted, raw, true_ids=None, draws=None)
    assert codecs.find_fault(fitted, arrays, dims=DIMS) is None
    layout = signal.layout(DIMS, fitted.chosen)
    fields = codecs.to_records(fitted, arrays, counts, layout=layout)
    for field in layout.fields[3:]:
        assert fields[field.name].shape == (len(counts), *field.shape)
        assert fields[field.name].dtype == field.numpy_dtype
    back, flat = codecs.from_records(fitted, fields)
    np.testing.assert_array_equal(np.bincount(flat.rows, minlength=len(counts)), counts)
    assert set(back) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(back[name], arrays[name])
    kept, again = (codecs.decode(fitted, found) for found in (arrays, back))
    assert set(kept) == set(signal.source.arrays)
    for name in kept:
        assert kept[name].dtype == np.float32 and kept[name].shape == raw[name].shape
        np.testing.assert_array_equal(kept[name], again[name])


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.kind)
def test_no_records_decode_to_arrays_of_the_same_widths(signal):
    fitted = fit(signal)
    arrays = codecs.encode(fitted, raw_of(signal, 5), true_ids=None, draws=None)
    layout = signal.layout(DIMS, fitted.chosen)
    fields = codecs.to_records(fitted, arrays, np.array([2, 3]), layout=layout)
    decoded = codecs.decode(fitted, arrays)
    none, _ = codecs.from_records(fitted, {name: values[:0] for name, values in fields.items()})
    for name, values in codecs.decode(fitted, none).items():
        assert values.shape == (0, *decoded[name].shape[1:])
        assert values.dtype == decoded[name].dtype


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.kind)
def test_records_may_be_narrower_than_the_layout(signal):
    fitted, counts = fit(signal), np.array([2, 1])
    arrays = codecs.encode(fitted, raw_of(signal, 3), true_ids=None, draws=None)
    layout = signal.layout(DIMS, fitted.chosen)
    fields = codecs.to_records(fitted, arrays, counts, layout=layout, width=2)
    assert all(fields[f.name].shape[:2] == (2, 2) for f in layout.fields[3:])
    with pytest.raises(ValueError, match="up to 2 of 1 slots"):
        codecs.to_records(fitted, arrays, counts, layout=layout, width=1)


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.kind)
def test_encoding_is_the_same_whatever_is_beside_a_position(signal):
    if getattr(signal, "basis", None):
        pytest.skip("a matrix product may sum in another order")
    fitted, raw = fit(signal), raw_of(signal, 7)
    whole = codecs.encode(fitted, raw, true_ids=None, draws=None)
    part = codecs.encode(
        fitted, {name: values[2:5] for name, values in raw.items()}, true_ids=None, draws=None
    )
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][2:5])
