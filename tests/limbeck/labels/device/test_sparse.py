import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.labels import LabelDims, SparseSignal, sparse
from limbeck.labels.device.sparse import encode, target_log_probs
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted

GRID = (1.0, 2.0, 4.0)
EXACT = ("zmax", "ids", "logits", "true_logit")
# log_tail in float32 against float64: half an ulp of the result, and of the sums it comes from.
TOLERANCE = {"rtol": 1e-6, "atol": 2e-6}


def top_k_with_tail(logits, true_ids, *, k, temperatures):
    fitted = Fitted(signal=SparseSignal(k=k, temperatures=temperatures))
    return encode(fitted, {"logits": tf.convert_to_tensor(logits)}, true_ids=true_ids, draws=None)


def reference(logits, true_ids, *, k, temperatures):
    fitted = Fitted(signal=SparseSignal(k=k, temperatures=temperatures))
    return sparse.encode(fitted, {"logits": logits}, true_ids=true_ids, draws=None)


def assert_twins_agree(logits: np.ndarray, k: int, true_ids: np.ndarray | None = None) -> None:
    true_ids = np.zeros(len(logits), np.int64) if true_ids is None else true_ids
    expected = reference(logits, true_ids, k=k, temperatures=GRID)
    actual = top_k_with_tail(tf.constant(logits), tf.constant(true_ids), k=k, temperatures=GRID)
    assert set(actual) == set(expected)
    for name in EXACT:
        np.testing.assert_array_equal(actual[name].numpy(), expected[name], err_msg=name)
    np.testing.assert_allclose(actual["log_tail"].numpy(), expected["log_tail"], **TOLERANCE)


def some_logits(num_rows, vocab_size, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(num_rows, vocab_size)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 2, 16, 199, 200])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_twins_agree_on_random_logits(k, scale):
    rng = np.random.default_rng(k)
    assert_twins_agree(some_logits(7, 200, scale), k, rng.integers(0, 200, 7))


@pytest.mark.parametrize(
    "levels",
    [
        1,  # every logit equal
        2,  # half of a large vocabulary ties across the edge of the head
        7,
    ],
)
@pytest.mark.parametrize("k", [1, 3, 64, 1000])
def test_ties_among_thousands_go_to_the_lower_id(levels, k):
    rng = np.random.default_rng(levels)
    logits = rng.integers(0, levels, (3, 30000)).astype(np.float32)
    assert_twins_agree(logits, k)


@pytest.mark.parametrize("gap", [16.0, 60.0, 2e4])  # tails of 1e-7, e^-60, e^-20000
def test_tiny_tails_agree(gap):
    logits = some_logits(5, 300, scale=1.0)
    logits[:, 11] += np.float32(gap)
    assert_twins_agree(logits, 1)


def test_tail_that_is_almost_everything_keeps_the_head_mass():
    logits = tf.zeros([2, 30000])
    arrays = top_k_with_tail(logits, tf.zeros([2], tf.int32), k=1, temperatures=GRID)
    # Relative accuracy of log(1 - 1/V) itself, about -3.3e-5.
    np.testing.assert_allclose(arrays["log_tail"], np.log1p(-1 / 30000), rtol=1e-5)


def test_extreme_logits_agree():
    logits = np.array([[0.0, -1e5, -3e5, 3e38, -3e38], [1e4, -1e4, 0, 1e4, 5.0]], np.float32)
    expected = reference(logits, np.zeros(2, int), k=3, temperatures=GRID)
    actual = top_k_with_tail(logits, np.zeros(2, np.int32), k=3, temperatures=GRID)
    for name in EXACT:
        np.testing.assert_array_equal(actual[name].numpy(), expected[name], err_msg=name)
    # At 3e38 the device's difference of logits overflows to -inf: no mass, as in truth.
    assert (actual["log_tail"].numpy()[0] < -1e37).all()
    np.testing.assert_allclose(actual["log_tail"].numpy()[1], expected["log_tail"][1], **TOLERANCE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 150, 299])
def test_logits_that_are_not_finite_are_found_on_the_host(value, column):
    logits = some_logits(4, 300)
    logits[2, column] = value
    arrays = top_k_with_tail(logits, np.zeros(4, np.int32), k=8, temperatures=GRID)
    arrays = {name: tensor.numpy() for name, tensor in arrays.items()}
    assert np.isnan(arrays["zmax"][2])
    dims = LabelDims(seq_length=9, max_predictions=9, vocab_size=300, hidden_dim=1)
    fault = sparse.find_fault(Fitted(signal=SparseSignal(k=8)), arrays, dims=dims)
    assert fault.position == 2 and "the teacher gave a logit that is not finite" in fault.reason


def test_rows_do_not_depend_on_their_batch():
    logits = some_logits(9, 500)
    whole = top_k_with_tail(logits, np.zeros(9, np.int32), k=8, temperatures=GRID)
    part = top_k_with_tail(logits[3:5], np.zeros(2, np.int32), k=8, temperatures=GRID)
    for name in EXACT:
        np.testing.assert_array_equal(whole[name][3:5], part[name], err_msg=name)
    np.testing.assert_allclose(whole["log_tail"][3:5], part["log_tail"], **TOLERANCE)


def test_no_rows_give_empty_arrays():
    arrays = top_k_with_tail(tf.zeros([0, 9]), tf.zeros([0], tf.int32), k=4, temperatures=GRID)
    assert {name: tuple(t.shape) for name, t in arrays.items()} == {
        "zmax": (0,),
        "ids": (0, 4),
        "logits": (0, 4),
        "log_tail": (0, 3),
        "true_logit": (0,),
    }


@pytest.mark.parametrize("k", [10])
def test_k_outside_the_vocabulary_is_refused(k):
    with pytest.raises(ValueError, match=f"k is {k} but must be 1 to the static vocabulary size 9"):
        top_k_with_tail(tf.zeros([1, 9]), tf.zeros([1], tf.int32), k=k, temperatures=GRID)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 0.3, 3.0, 50.0, 1e4]),
    rounding=st.sampled_from([0, 4, 20]),
    k=st.integers(1, 64),
)
def test_twins_agree_on_any_logits(seed, scale, rounding, k):
    logits = some_logits(3, 64, scale, seed)
    if rounding:  # makes ties
        logits = np.round(logits * 2 / rounding) * rounding / np.float32(2)
    assert_twins_agree(logits.astype(np.float32), k)


@pytest.mark.parametrize("temperature", GRID)
@pytest.mark.parametrize("k", [1, 16, 64])  # 64 is all
def test_targets_agree(temperature, k):
    arrays = reference(some_logits(6, 64), np.zeros(6, int), k=k, temperatures=GRID)
    decoded = sparse.decode(Fitted(signal=SparseSignal(k=k, temperatures=GRID)), arrays)
    expected = sparse.target(decoded, temperature=temperature)
    actual = target_log_probs(
        arrays["logits"],
        arrays["log_tail"][:, GRID.index(temperature)],
        temperature=temperature,
    )
    # Both in float32; the log-sum-exps differ in order only.
    np.testing.assert_allclose(actual.numpy(), expected, rtol=2e-6, atol=2e-6)


RAGGED = [
    SparseSignal(threshold=0.02, sample=True, form="lean", temperatures=(1,)),
    SparseSignal(k=3, threshold=0.1, sample=True, form="lean", temperatures=(2,)),
    SparseSignal(threshold=0.05, sample=True, temperatures=GRID),
    SparseSignal(k=2, threshold=0.05, sample=True, positions="all"),
    SparseSignal(k=4, threshold=0.05),
    SparseSignal(threshold=0.01, form="lean", temperatures=(4,)),
]


@pytest.mark.parametrize("signal", RAGGED)
@pytest.mark.parametrize("num_rows", [0, 1, 7, 75])  # 75: three parts, of which the last overlaps
def test_thresholds_pick_the_same_entries(signal, num_rows):
    logits = some_logits(num_rows, 700, scale=2.5, seed=num_rows)
    true_ids = np.arange(num_rows, dtype=np.int32) * 7
    words = draws(3, np.zeros((1, 16), np.uint8), np.zeros(num_rows, int), np.arange(num_rows))
    fitted, raw = Fitted(signal=signal), {"logits": logits}
    expected = sparse.encode(fitted, raw, true_ids=true_ids, draws=words)
    actual = encode(
        fitted,
        {"logits": tf.constant(logits)},
        true_ids=tf.constant(true_ids),
        draws=tf.constant(words),
    )
    assert set(actual) == set(expected)
    for name, values in expected.items():
        if name == "log_tail":
            np.testing.assert_allclose(actual[name].numpy(), values, **TOLERANCE)
        else:
            np.testing.assert_array_equal(actual[name].numpy(), values, err_msg=name)


@pytest.mark.parametrize("signal", RAGGED[:5:2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_of_a_threshold_that_are_not_finite_are_found(signal, value):
    logits = some_logits(5, 700)
    logits[3, 650] = value
    arrays = encode(
        Fitted(signal=signal),
        {"logits": tf.constant(logits)},
        true_ids=tf.zeros(5, tf.int32),
        draws=tf.zeros((5, 2), tf.int32),
    )
    arrays = {name: tensor.numpy() for name, tensor in arrays.items()}
    dims = LabelDims(seq_length=9, max_predictions=9, vocab_size=700, hidden_dim=1)
    fault = sparse.find_fault(Fitted(signal=signal), arrays, dims=dims)
    assert fault.position == 3 and "not finite" in fault.reason
