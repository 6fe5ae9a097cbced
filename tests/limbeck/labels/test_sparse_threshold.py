"""Thresholds and samples: which ids, how often, what they stand for, and how they are packed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import LabelDims, SparseSignal, sparse
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted
from limbeck.labels.sparse_cells import fit_prior

V = 400
DIMS = LabelDims(seq_length=9, max_predictions=9, vocab_size=V, hidden_dim=1)
LEAN = SparseSignal(threshold=1 / 30, sample=True, form="lean", temperatures=(1,))
GRID = SparseSignal(threshold=1 / 30, sample=True, temperatures=(1, 2, 4))
FORMS = {
    "lean": LEAN,
    "grid": GRID,
    "bucket": SparseSignal(k=3, threshold=0.02),
    "lean bucket": SparseSignal(k=2, threshold=0.02, form="lean", temperatures=(2,)),
    "wide counts": SparseSignal(threshold=1 / 300, sample=True, form="lean", temperatures=(1,)),
    "everywhere": SparseSignal(threshold=0.1, sample=True, positions="all"),
}


def some_logits(num_rows=6, vocab_size=V, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(num_rows, vocab_size)).astype(np.float32)


def family(signal, vocab_size=V, seed=1):
    raw = {"logits": some_logits(40, vocab_size, seed=seed)}
    return sparse.fit(signal, raw)[0]


def encoded(signal, logits, seed=0, fitted=None):
    words = draws(
        seed, np.zeros((1, 16), np.uint8), np.zeros(len(logits), int), np.arange(len(logits))
    )
    return sparse.encode(
        fitted or Fitted(signal=signal),
        {"logits": logits},
        true_ids=np.zeros(len(logits), int),
        draws=words,
    )


def probabilities(logits, temperatures):
    z = [logits.astype(np.float64) / t for t in temperatures]
    e = [np.exp(x - x.max(axis=-1, keepdims=True)) for x in z]
    return [x / x.sum(axis=-1, keepdims=True) for x in e]


@pytest.mark.parametrize("signal", FORMS.values(), ids=FORMS)
def test_head_is_all_ids_of_the_threshold_and_the_largest(signal):
    logits = some_logits(20)
    arrays = encoded(signal, logits)
    mean = np.mean(probabilities(logits, signal.temperatures), axis=0)
    for row, num in enumerate(arrays["num_head"].tolist()):
        expected = set(np.flatnonzero(mean[row] >= signal.threshold).tolist())
        expected |= set(np.argsort(-logits[row], kind="stable")[: signal.k].tolist())
        assert arrays["ids"][row, :num].tolist() == sorted(expected)


@pytest.mark.parametrize("signal", FORMS.values(), ids=FORMS)
def test_no_records_unpack_to_arrays_of_the_same_widths(signal):
    fitted = family(signal)
    arrays = encoded(signal, some_logits(5), fitted=fitted)
    layout = signal.layout(DIMS, fitted.chosen)
    fields = sparse.to_records(fitted, arrays, np.array([2, 3]), layout=layout)
    some, _ = sparse.from_records(fitted, fields)
    none, _ = sparse.from_records(fitted, {name: values[:0] for name, values in fields.items()})
    for name, values in none.items():
        assert values.shape == (0, *some[name].shape[1:])
        assert values.dtype == some[name].dtype


def test_number_drawn_follows_the_mass_below_the_threshold():
    logits = some_logits(50)
    arrays = encoded(LEAN, logits)
    p = probabilities(logits, (1.0,))[0]
    outside = np.ones(p.shape, bool)
    for row, num in enumerate(arrays["num_head"].tolist()):
        outside[row, arrays["ids"][row, :num]] = False
    expected = np.where(outside, p, 0.0).sum(axis=-1) * 30
    # One point every threshold: the number is the mass cut to a multiple, or one more.
    assert (np.abs(arrays["num_sampled"] - expected) < 1.0).all()


@pytest.mark.parametrize("signal", [LEAN, GRID], ids=["lean", "grid"])
def test_ids_are_drawn_with_exactly_their_chance(signal):
    logits = some_logits(1)
    starts = 20_000  # evenly spaced, which integrates over the uniform start to 1 / starts
    words = np.zeros((starts, 2), np.int64)
    words[:, 0] = (np.arange(starts) + 0.5) / starts * 2**32
    words[:, 1] = 123456789
    arrays = sparse.encode(
        Fitted(signal=signal),
        {"logits": np.repeat(logits, starts, axis=0)},
        true_ids=np.zeros(starts, int),
        draws=words.astype(np.uint32).view(np.int32),
    )
    column = np.arange(arrays["ids"].shape[1])
    used = column < (arrays["num_head"] + arrays["num_sampled"])[:, None]
    often = np.bincount(arrays["ids"][used], minlength=V) / starts
    mean = np.mean(probabilities(logits, signal.temperatures), axis=0)[0]
    expected = np.minimum(mean / signal.threshold, 1.0)
    expected[logits[0].argmax()] = 1.0
    np.testing.assert_allclose(often, expected, atol=2.5 / starts)  # both ends of its interval


@pytest.mark.parametrize(
    ("signal", "temperature"),
    [(LEAN, 1.0), (GRID, 1.0), (GRID, 2.0), (GRID, 4.0)],
    ids=["lean", "grid at 1", "grid at 2", "grid at 4"],
)
def test_target_is_unbiased_within_four_sigma_over_many_keys(signal, temperature):
    keys, logits = 4000, some_logits(1)
    many = np.repeat(logits, keys, axis=0)
    fitted = Fitted(signal=signal)
    arrays = encoded(signal, many, seed=11)
    ids, weights = sparse.sampled_target(fitted, arrays, temperature=temperature)
    dense = np.zeros((keys, V))
    np.add.at(dense, (np.arange(keys)[:, None], ids), weights)
    p = probabilities(logits, (temperature,))[0][0]
    error, sigma = dense.mean(axis=0) - p, dense.std(axis=0) / np.sqrt(keys)
    # What is stored rounds: codes by 1 / 1023 of sqrt(p), fp16 logits by up to 2^-8 of p.
    rounding = np.sqrt(p) / 1023 + p * 4e-3
    unseen = np.where(weights.max() > 0, signal.threshold, 0) * 4 / keys  # ids never drawn
    assert (np.abs(error) <= 4 * sigma + rounding + unseen).all()
    chi = (error / np.maximum(sigma, 1e-12))[(sigma > 0) & (p < signal.threshold / 4)]
    assert abs(chi.mean()) < 0.3 and 0.8 < chi.std() < 1.2  # as a standard normal
    np.testing.assert_allclose(dense.sum(axis=-1).mean(), 1.0, atol=5e-3)


def test_lean_sample_weighs_exactly_the_threshold():
    arrays = encoded(LEAN, some_logits())
    _, weights = sparse.sampled_target(Fitted(signal=LEAN), arrays, temperature=1.0)
    drawn = np.arange(weights.shape[1]) >= arrays["num_head"][:, None]
    assert set(np.unique(weights[drawn])) == {np.float32(0), np.float32(1 / 30)}


@pytest.mark.parametrize("signal", FORMS.values(), ids=FORMS)
def test_flat_and_peaked_rows_have_their_entries(signal):
    logits = np.zeros((3, V), np.float32)
    logits[1, 7] = 50.0
    logits[2, :5] = 8.0
    arrays = encoded(signal, logits)
    assert sparse.find_fault(Fitted(signal=signal), arrays, dims=DIMS) is None
    if signal.temperatures == (1.0,):
        assert arrays["num_head"][1] == 1 and arrays["ids"][1, 0] == 7


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 0.5, 3.0, 30.0, 1e4]),
    vocab_size=st.sampled_from([2, 3, 30, 400, 1500]),
    form=st.sampled_from(list(FORMS)),
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_records_give_back_what_was_encoded(seed, scale, vocab_size, form, counts):
    signal = FORMS[form]
    if signal.k > vocab_size:
        return
    logits = some_logits(sum(counts), vocab_size, scale, seed)
    fitted = family(signal, vocab_size)
    arrays = encoded(signal, logits, seed, fitted)
    dims = LabelDims(seq_length=9, max_predictions=9, vocab_size=vocab_size, hidden_dim=1)
    assert sparse.find_fault(fitted, arrays, dims=dims) is None
    layout = signal.layout(dims)
    fields = sparse.to_records(fitted, arrays, np.array(counts), layout=layout)
    assert set(fields) | {"key", "digest"} == set(layout.names)
    back, flat = sparse.from_records(fitted, fields)
    assert set(back) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(back[name], values, err_msg=name)
    np.testing.assert_array_equal(flat.rows, np.repeat(np.arange(len(counts)), counts))
    np.testing.assert_array_equal(flat.slots, np.concatenate([np.arange(c) for c in counts]))


def test_record_does_not_depend_on_its_neighbours():
    fitted = family(LEAN)
    arrays = encoded(LEAN, some_logits(6), 0, fitted)
    layout = LEAN.layout(DIMS)
    whole = sparse.to_records(fitted, arrays, np.array([2, 0, 4]), layout=layout)["payload"]
    last = {name: values[2:] for name, values in arrays.items()}
    assert sparse.to_records(fitted, last, np.array([4]), layout=layout)["payload"][0] == whole[2]
    assert whole[1] == b""


def test_prior_makes_ids_shorter_than_sixteen_bits():
    vocab_size, rng = 30_000, np.random.default_rng(3)
    common = -1.1 * np.log(np.arange(1, vocab_size + 1)) + 4  # Zipf
    logits = (common + rng.normal(scale=2.0, size=(300, vocab_size))).astype(np.float32)
    signal = SparseSignal(threshold=1 / 100, sample=True, form="lean", temperatures=(1,))
    fitted, lines = sparse.fit(signal, {"logits": logits[:200]})
    assert lines == ["prior over 30,000 ids from 200 positions"]
    arrays = encoded(signal, logits[200:], 0, fitted)
    dims = LabelDims(seq_length=9, max_predictions=100, vocab_size=vocab_size, hidden_dim=1)
    fields = sparse.to_records(fitted, arrays, np.array([100]), layout=signal.layout(dims))
    entries = int(arrays["num_head"].sum() + arrays["num_sampled"].sum())
    bits = 8 * len(fields["payload"][0]) - 1600 - 10 * int(arrays["num_head"].sum())
    assert bits / entries < 11.5  # log2(V) is 14.9, and a set of 60 could not do with less than 10


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda payload: payload[:-3], "record 1 of those read has .* bytes, but its counts need"),
        (lambda payload: payload + b"xy", "record 1 of those read has"),
        (lambda payload: b"\xff" * len(payload), "payload of a sparse label"),
        (lambda payload: b"", "record 1 of those read has 0 bytes"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_damaged_payload_is_refused(form, damage, message):
    signal = FORMS[form]
    fitted = family(signal)
    arrays = encoded(signal, some_logits(6), 0, fitted)
    fields = sparse.to_records(fitted, arrays, np.array([2, 4]), layout=signal.layout(DIMS))
    fields["payload"][1] = damage(fields["payload"][1])
    with pytest.raises(LimbeckError, match=message):
        sparse.from_records(fitted, fields)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("signal", FORMS.values(), ids=FORMS)
def test_rows_that_are_not_finite_are_marked(signal, value):
    logits = some_logits()
    logits[4, 17] = value
    arrays = encoded(signal, logits)
    fault = sparse.find_fault(Fitted(signal=signal), arrays, dims=DIMS)
    assert fault.position == 4 and "not finite" in fault.reason


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("ids", (3, 1), V, f"an id is not below {V}"),
        ("ids", (3, 3), 0, "ids do not rise|an id is repeated"),
        ("num_head", 3, 60, "there are more than 32 entries"),
        ("logits", (3, 0), 0.5, "relative logit is not 0|above 0"),
        ("log_tail", (3, 1), 0.0, "log_tail is not below 0"),
    ],
)
def test_broken_rule_is_named(field, index, value, message):
    arrays = {name: values.copy() for name, values in encoded(GRID, some_logits()).items()}
    arrays[field][index] = value
    fault = sparse.find_fault(Fitted(signal=GRID), arrays, dims=DIMS)
    assert fault.position == 3
    assert any(part in fault.reason for part in message.split("|"))


def test_bucket_of_a_threshold_equals_that_of_top_k():
    signal, logits = FORMS["bucket"], some_logits()
    arrays = encoded(signal, logits)
    decoded = sparse.decode(Fitted(signal=signal), arrays)
    for row, k in enumerate(arrays["num_head"].tolist()):
        top = Fitted(signal=SparseSignal(k=k))
        raw = {"logits": logits[row : row + 1]}
        same = sparse.encode(top, raw, true_ids=np.zeros(1, int), draws=None)
        ordered = sparse.decode(top, same)
        np.testing.assert_array_equal(np.sort(decoded.ids[row, :k]), np.sort(ordered.ids[0]))
        np.testing.assert_allclose(decoded.log_tail[row], ordered.log_tail[0], rtol=1e-6)
        target = sparse.target(decoded, temperature=2.0)[row]
        assert np.isneginf(target[k:-1]).all()
        np.testing.assert_allclose(np.exp(target.astype(np.float64)).sum(), 1.0, rtol=1e-6)


def test_head_of_a_lean_sample_can_be_looked_at():
    logits = some_logits()
    decoded = sparse.decode(Fitted(signal=LEAN), encoded(LEAN, logits))
    np.testing.assert_array_equal(decoded.ids[:, 0], logits.argmax(axis=-1))
    p = probabilities(logits, (1.0,))[0]
    head = np.take_along_axis(p, decoded.ids.astype(int), -1) * ~np.isneginf(decoded.logits)
    # A code is within half a step of sqrt(p): p within sqrt(p) / 1023.
    np.testing.assert_allclose(np.exp(decoded.log_tail[:, 0]), 1 - head.sum(-1), atol=5e-3)


def test_sampled_target_of_a_family_without_a_sample_is_refused():
    fitted = Fitted(signal=FORMS["bucket"])
    with pytest.raises(UsageError, match="the family has no sample; extract it with sample: true"):
        sparse.sampled_target(fitted, encoded(FORMS["bucket"], some_logits()), temperature=1.0)


def test_sampled_target_at_another_temperature_names_the_grid():
    with pytest.raises(UsageError, match=r"temperature 2 is not in the family's grid \[1.0\]"):
        sparse.sampled_target(Fitted(signal=LEAN), encoded(LEAN, some_logits()), temperature=2.0)


def test_prior_of_nothing_is_even():
    np.testing.assert_allclose(fit_prior(np.zeros(8)), 1 / 8)
    empty = sparse.fit(LEAN, {"logits": np.zeros((0, V), np.float32)})[0]
    np.testing.assert_allclose(empty.tensors["prior"], 1 / V)


@pytest.mark.parametrize("kind", ["sample", "true ids"])
def test_missing_words_or_true_ids_are_refused(kind):
    signal, words = (LEAN, None) if kind == "sample" else (FORMS["bucket"], None)
    with pytest.raises(ValueError, match="needs draws" if kind == "sample" else "needs true_ids"):
        sparse.encode(Fitted(signal=signal), {"logits": some_logits()}, true_ids=None, draws=words)
