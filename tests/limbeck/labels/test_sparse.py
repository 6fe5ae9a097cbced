import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import LabelDims, SparseSignal, sparse
from limbeck.labels.fitted import Fitted

GRID = (1.0, 2.0, 4.0)


def oracle_log_probs(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Float64 log-softmax from the definition."""
    z = logits.astype(np.float64) / temperature
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def oracle_log_tail(logits: np.ndarray, ids: np.ndarray, temperature: float) -> np.ndarray:
    """Float64 log of the mass outside `ids`, summed from the smallest on, never 1 - sum."""
    log_probs = oracle_log_probs(logits, temperature)
    rows = []
    for row, kept in zip(log_probs, ids.astype(int), strict=True):
        rest = np.sort(np.delete(row, kept))
        rows.append(rest[-1] + np.log(np.exp(rest - rest[-1]).sum()))
    return np.array(rows)


def some_logits(num_rows=6, vocab_size=50, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(num_rows, vocab_size)).astype(np.float32)


def family(k=4, temperatures=GRID):
    return Fitted(signal=SparseSignal(k=k, temperatures=temperatures))


def encoded(logits, k=4, temperatures=GRID, true_ids=None):
    true_ids = np.zeros(len(logits), np.int64) if true_ids is None else true_ids
    raw = {"logits": logits}
    return sparse.encode(family(k, temperatures), raw, true_ids=true_ids, draws=None)


def decoded(arrays, temperatures=GRID):
    return sparse.decode(family(arrays["ids"].shape[-1], temperatures), arrays)


def find_fault(arrays, vocab_size):
    dims = LabelDims(seq_length=9, max_predictions=9, vocab_size=vocab_size, hidden_dim=1)
    return sparse.find_fault(family(arrays["ids"].shape[-1]), arrays, dims=dims)


def test_head_is_the_largest_logits_in_order():
    logits = np.array([[0.0, 5.0, -1.0, 3.0]], np.float32)
    arrays = encoded(logits, k=3, true_ids=np.array([2]))
    np.testing.assert_array_equal(arrays["ids"], [[1, 3, 0]])
    np.testing.assert_array_equal(arrays["logits"], np.array([[0, -2, -5]], np.float16))
    np.testing.assert_array_equal(arrays["zmax"], [5.0])
    np.testing.assert_array_equal(arrays["true_logit"], [-1.0])


@pytest.mark.parametrize(
    ("row", "k", "expected"),
    [
        ([1, 1, 1, 1], 2, [0, 1]),  # all equal
        ([0, 2, 1, 2, 2], 2, [1, 3]),  # a tie across the edge of the head
        ([-0.0, 0.0, -0.0], 3, [0, 1, 2]),  # both zeros are one value
    ],
)
def test_ties_go_to_the_lower_id(row, k, expected):
    arrays = encoded(np.array([row], np.float32), k=k)
    np.testing.assert_array_equal(arrays["ids"], [expected])


@pytest.mark.parametrize("temperature", GRID)
def test_log_tail_of_ordinary_logits_matches_the_definition(temperature):
    logits = some_logits()
    arrays = encoded(logits)
    column = GRID.index(temperature)
    expected = oracle_log_tail(logits, arrays["ids"], temperature)
    # Float64 inside, so what is left is the rounding to float32.
    np.testing.assert_allclose(arrays["log_tail"][:, column], expected, rtol=1e-7)


@pytest.mark.parametrize("gap", [16.0, 60.0, 2e4])  # tails of 1e-7, e^-60, e^-20000
def test_log_tail_of_a_tiny_tail_keeps_relative_accuracy(gap):
    logits = some_logits(scale=1.0)
    logits[:, 7] += np.float32(gap)
    arrays = encoded(logits, k=1)
    for column, temperature in enumerate(GRID):
        expected = oracle_log_tail(logits, arrays["ids"], temperature)
        np.testing.assert_allclose(arrays["log_tail"][:, column], expected, rtol=2e-7)


def test_log_tail_when_the_tail_is_almost_everything_keeps_the_head_mass():
    logits = np.zeros((1, 30000), np.float32)
    arrays = encoded(logits, k=1)
    # log(1 - 1/V): its own value is small, so a difference of two log-sum-exps would lose it.
    np.testing.assert_allclose(arrays["log_tail"][0], np.log1p(-1 / 30000), rtol=1e-6)


def test_all_ids_kept_drops_the_bucket():
    logits = some_logits(vocab_size=5)
    arrays = encoded(logits, k=5)
    assert np.isneginf(arrays["log_tail"]).all()
    target = sparse.target(decoded(arrays), temperature=2.0)
    assert np.isneginf(target[:, -1]).all()
    expected = np.take_along_axis(oracle_log_probs(logits, 2.0), arrays["ids"].astype(int), axis=-1)
    # fp16 logits up to 8 below the largest: 2^-11 * 8 / T.
    np.testing.assert_allclose(target[:, :-1], expected, atol=4e-3)


def test_target_sums_to_one_and_keeps_the_exact_bucket():
    arrays = encoded(some_logits())
    stored = decoded(arrays)
    for column, temperature in enumerate(GRID):
        target = sparse.target(stored, temperature=temperature)
        assert target.dtype == np.float32
        np.testing.assert_allclose(np.exp(target.astype(np.float64)).sum(-1), 1.0, rtol=1e-6)
        np.testing.assert_array_equal(target[:, -1], arrays["log_tail"][:, column])


def test_target_head_equals_the_full_distribution_up_to_fp16():
    logits = some_logits(scale=2.0)
    arrays = encoded(logits)
    target = sparse.target(decoded(arrays), temperature=1.0)
    full = oracle_log_probs(logits, 1.0)
    expected = np.take_along_axis(full, arrays["ids"].astype(int), axis=-1)
    np.testing.assert_allclose(target[:, :-1], expected, atol=4e-3)  # 2^-11 of at most 8


def test_target_of_any_leading_shape_is_that_of_its_rows():
    arrays = encoded(some_logits())
    flat = sparse.target(decoded(arrays), temperature=4.0)
    shaped = {name: a.reshape(2, 3, *a.shape[1:]) for name, a in arrays.items()}
    target = sparse.target(decoded(shaped), temperature=4.0)
    np.testing.assert_array_equal(target.reshape(flat.shape), flat)


def test_temperature_outside_the_grid_is_refused_naming_the_grid():
    stored = decoded(encoded(some_logits()))
    with pytest.raises(UsageError, match=r"temperature 3 .* grid \[1.0, 2.0, 4.0\]"):
        sparse.target(stored, temperature=3.0)


def test_decode_with_another_grid_is_refused():
    with pytest.raises(LimbeckError, match="log_tail has 3 temperatures but the grid is"):
        decoded(encoded(some_logits()), temperatures=(1.0, 2.0))


def test_logits_below_fp16_are_clamped_and_change_no_target():
    logits = np.array([[0.0, -1e5, -3e5, 3e38, -3e38]], np.float32)
    arrays = encoded(logits, k=4)
    assert np.isfinite(arrays["logits"]).all() and arrays["logits"].min() == -65504.0
    np.testing.assert_array_equal(arrays["ids"], [[3, 0, 1, 2]])
    target = sparse.target(decoded(arrays), temperature=4.0)
    np.testing.assert_array_equal(np.exp(target), [[1, 0, 0, 0, 0]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_marked_and_found(value):
    logits = some_logits()
    logits[2, 31] = value
    arrays = encoded(logits)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(arrays["zmax"])), [2])
    fault = find_fault(arrays, 50)
    assert fault.position == 2 and "not finite" in fault.reason
    whole = encoded(some_logits())
    for name, values in arrays.items():  # the others are as ever
        np.testing.assert_array_equal(np.delete(values, 2, 0), np.delete(whole[name], 2, 0))


@pytest.mark.parametrize("bad", [-1, 50])
def test_true_id_outside_the_vocabulary_is_refused(bad):
    true_ids = np.array([0, 0, 0, bad, 0, 0])
    with pytest.raises(LimbeckError, match=f"row 3: true id {bad} is outside the 50 ids"):
        encoded(some_logits(), true_ids=true_ids)


@pytest.mark.parametrize("k", [51])
def test_k_outside_the_vocabulary_is_refused(k):
    with pytest.raises(LimbeckError, match=f"k is {k} but must be 1 to the vocabulary's 50"):
        encoded(some_logits(), k=k)


def test_find_fault_finds_none_in_what_encode_wrote():
    assert find_fault(encoded(some_logits()), 50) is None
    assert find_fault(encoded(some_logits(vocab_size=4)), 4) is None  # k = V


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("zmax", (3,), np.nan, "the teacher gave a logit that is not finite"),
        ("true_logit", (3,), np.inf, "true_logit is not finite"),
        ("true_logit", (3,), 1e6, "true_logit is above zmax"),
        ("logits", (3, 1), np.nan, "a relative logit is not finite"),
        ("logits", (3, 0), -1.0, "the first relative logit is not 0"),
        ("logits", (3, 3), 0.0, "the head is not sorted"),
        ("ids", (3, 1), 50, "an id is not below 50"),
        ("log_tail", (3, 1), 0.0, "log_tail is not below 0"),
        ("log_tail", (3, 1), np.nan, "the teacher gave a logit that is not finite"),
        ("log_tail", (3,), -np.inf, "log_tail is -inf"),
    ],
)
def test_find_fault_names_position_and_rule(field, index, value, message):
    arrays = encoded(some_logits())
    arrays[field] = arrays[field].copy()
    arrays[field][index] = value
    fault = find_fault(arrays, 50)
    assert fault.position == 3 and message in fault.reason


def test_find_fault_finds_a_tail_where_every_id_is_kept():
    arrays = encoded(some_logits(vocab_size=4))
    arrays["log_tail"][1, 0] = -1.0
    fault = find_fault(arrays, 4)
    assert fault.position == 1 and fault.reason == "log_tail is above -inf with every id kept"


def test_find_fault_finds_a_repeated_id():
    arrays = encoded(some_logits())
    arrays["ids"][3, 2] = arrays["ids"][3, 0]
    fault = find_fault(arrays, 50)
    assert fault.position == 3 and fault.reason == "an id is repeated"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]),
    vocab_size=st.integers(2, 40),
    k=st.integers(1, 40),
    shift=st.sampled_from([0.0, 1024.0, -4096.0]),  # exact in float32 on a grid of 1/64
)
def test_target_of_any_logits_sums_to_one_and_ignores_shifts(seed, scale, vocab_size, k, shift):
    k = min(k, vocab_size)
    logits = np.round(some_logits(3, vocab_size, scale, seed) * 64) / np.float32(64)
    arrays = encoded(logits.astype(np.float32), k=k)
    assert find_fault(arrays, vocab_size) is None
    shifted = encoded((logits + shift).astype(np.float32), k=k)
    for name in ("ids", "logits", "log_tail"):
        np.testing.assert_array_equal(arrays[name], shifted[name])
    for temperature in GRID:
        target = sparse.target(decoded(arrays), temperature=temperature)
        np.testing.assert_allclose(np.exp(target.astype(np.float64)).sum(-1), 1.0, rtol=2e-6)


@pytest.mark.parametrize("x", [-1e-30, -1e-7, -0.5, -np.log(2), -1.0, -30.0, -1e4])
def test_log1mexp_matches_float64(x):
    with np.errstate(under="ignore"):
        # log(1 - e^x) from whichever exact form the size of x asks for.
        expected = np.log(-np.expm1(np.float64(x))) if x > -1 else np.log1p(-np.exp(np.float64(x)))
    # Absolute where the result is about -exp(x) and below float32's smallest normal.
    actual = sparse.log1mexp(np.float32(x))
    np.testing.assert_allclose(actual, expected, rtol=3e-6, atol=1e-37)
