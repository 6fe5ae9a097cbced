import numpy as np
import pytest

from limbeck.labels import AttentionSignal, Fitted, LabelDims, QkvSignal, Side, TaskSignal, inside

DIMS = LabelDims(
    seq_length=6,
    max_predictions=None,
    vocab_size=50,
    hidden_dim=8,
    num_heads=2,
    query_dim=8,
    key_dim=4,
    num_labels=3,
)


def qkv(num_positions=4):
    rng = np.random.default_rng(0)
    widths = {"queries": 8, "keys": 4, "values": 4}
    return {n: rng.normal(size=(num_positions, w)).astype(np.float32) for n, w in widths.items()}


def probabilities(num_positions=4, num_tokens=5):
    weights = np.random.default_rng(1).random((num_positions, 2, num_tokens)).astype(np.float32)
    return {"probabilities": weights / weights.sum(-1, keepdims=True)}


def task(num_positions=4):
    return {"logits": np.random.default_rng(2).normal(size=(num_positions, 3)).astype(np.float32)}


CASES = [
    # Half a step of 1/127 of a largest component of up to 3.
    (QkvSignal(layer=1), qkv(), 3 / 254),
    (QkvSignal(layer=1, codec="float16"), qkv(), 2**-10),
    (QkvSignal(layer=1, codec="float32"), qkv(), 0.0),
    (AttentionSignal(layer=2), probabilities(), 2**-12),
    (AttentionSignal(layer=2, codec="float32"), probabilities(), 0.0),
    (TaskSignal(), task(), 0.0),
    (TaskSignal(positions="all"), task(), 0.0),
]


@pytest.mark.parametrize(("signal", "raw", "error"), CASES)
def test_encoding_and_back_is_within_the_codecs_error(signal, raw, error):
    fitted, lines = inside.fit(signal, {}, side=Side())
    assert (lines, inside.sample_positions(signal)) == ([], 0)
    arrays = inside.encode(fitted, raw)
    assert inside.find_fault(fitted, arrays, dims=DIMS) is None
    layout = signal.layout(DIMS)
    stored = {f.name: f.dtype for f in layout.fields[3:]}
    assert {name: str(values.dtype) for name, values in arrays.items()} == stored
    kept = inside.decode(fitted, arrays)
    assert set(kept) == set(signal.source.arrays)
    for name in kept:
        np.testing.assert_allclose(kept[name], raw[name], rtol=0, atol=error)


def test_family_keeps_what_the_teacher_says_of_its_attention():
    for signal in (QkvSignal(layer=1), AttentionSignal(layer=1)):
        fitted, _ = inside.fit(signal, {}, side=Side(facts={"mask": "causal"}))
        assert fitted.chosen == {"mask": "causal"}
        assert signal.layout(DIMS, fitted.chosen) == signal.layout(DIMS)


@pytest.mark.parametrize(
    ("signal", "raw", "name", "message"),
    [
        (QkvSignal(layer=1), qkv(), "keys", "keys of layer 1 has a component that is not finite"),
        (QkvSignal(layer=1, codec="float16"), qkv(), "values", "values of layer 1 has component"),
        (AttentionSignal(layer=2), probabilities(), "probabilities", "probabilities of layer 2"),
        (TaskSignal(), task(), "logits", "the task head's answer has component"),
    ],
)
def test_what_is_not_finite_is_found(signal, raw, name, message):
    raw = {key: values.copy() for key, values in raw.items()}
    raw[name][2, ..., 0] = np.nan
    fitted = Fitted(signal=signal)
    fault = inside.find_fault(fitted, inside.encode(fitted, raw), dims=DIMS)
    assert fault.position == 2 and fault.reason.startswith(message)


@pytest.mark.parametrize("change", [0.1, -0.3])
def test_probabilities_that_do_not_add_up_are_found(change):
    raw = probabilities()
    raw["probabilities"][3, 1, 0] += change
    fitted = Fitted(signal=AttentionSignal(layer=2))
    fault = inside.find_fault(fitted, inside.encode(fitted, raw), dims=DIMS)
    assert fault.position == 3 and "head 1 add up to" in fault.reason


def test_attention_over_fewer_tokens_is_padded_to_the_records_width():
    signal = AttentionSignal(layer=2)
    fitted = Fitted(signal=signal)
    arrays = inside.encode(fitted, probabilities(num_tokens=5))
    fields = inside.to_records(fitted, arrays, np.array([3, 1]), layout=signal.layout(DIMS))
    assert fields["probabilities"].shape == (2, 6, 2, 6)
    assert (fields["probabilities"][..., 5] == 0).all()
    back, flat = inside.from_records(fitted, fields)
    np.testing.assert_array_equal(back["probabilities"][..., :5], arrays["probabilities"])
    np.testing.assert_array_equal(flat.rows, [0, 0, 0, 1])
