"""The first seed's probabilities <-> a sparse family, by hand and against full softmaxes."""

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.interop.bert import Examples
from limbeck.interop.first_seed import PROBABILITIES, TOP_IDS, from_labels, kept_ids, to_labels
from limbeck.labels import LabelDims, SparseSignal
from limbeck.labels.fitted import Fitted
from limbeck.labels.sparse import decode, encode, find_fault, target

VOCAB_SIZE = 50


def examples(
    num_masked: list[int], slots: int, slot_order: list[list[int]] | None = None
) -> Examples:
    n = len(num_masked)
    real = np.arange(slots) < np.array(num_masked)[:, None]
    return Examples(
        columns={
            "key": np.zeros((n, 16), np.uint8),
            "ids": np.ones((n, 8), np.uint16),
            "num_tokens": np.full(n, 8, np.uint16),
            "segment_split": np.full(n, 8, np.uint16),
            "mask_positions": np.where(real, np.arange(slots), 0).astype(np.uint16),
            "mask_ids": np.where(real, 7, 0).astype(np.uint16),
            "num_masked": np.array(num_masked, np.uint16),
            "is_random_next": np.zeros(n, np.uint8),
        },
        slot_order=np.array(slot_order or [list(range(slots))] * n),
    )


def labels_of(p: np.ndarray, ids: np.ndarray, rows: Examples) -> dict[str, np.ndarray]:
    n = len(p)
    record = {
        PROBABILITIES: p.reshape(n, -1).astype(np.float32),
        TOP_IDS: ids.reshape(n, -1).astype(np.int64),
    }
    return to_labels(record, rows, vocab_size=VOCAB_SIZE, where=lambda row: f"f: record {row}")


def test_one_slot_by_hand() -> None:
    """Probabilities in no order, one tie, the true id 7 among them; 1/16 is left outside."""
    p = np.array([[[0.125, 0.5, 0.1875, 0.125]]])
    labels = labels_of(p, np.array([[[9, 3, 7, 4]]]), examples([1], 1))
    assert labels["ids"].tolist() == [[[3, 7, 4, 9]]]  # the tie by id
    assert labels["zmax"][0, 0] == np.float32(np.log(0.5))
    expected = np.log(np.array([0.5, 0.1875, 0.125, 0.125]) / 0.5).astype(np.float16)
    assert labels["logits"][0, 0].tolist() == expected.tolist()
    assert labels["log_tail"][0, 0].tolist() == [np.float32(np.log(1 / 16))]
    assert labels["true_logit"][0, 0] == pytest.approx(np.log(0.1875), rel=1e-6)
    assert labels["num_positions"].tolist() == [1]


def test_labels_equal_those_taken_from_the_teacher_at_temperature_1() -> None:
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(12, VOCAB_SIZE)) * 3).astype(np.float32)
    exact = np.exp(logits.astype(np.float64))
    softmax = (exact / exact.sum(1, keepdims=True)).astype(np.float32)
    ids = np.argsort(-logits, axis=1)[:, :6]
    shuffled = rng.permuted(ids, axis=1)
    p = np.take_along_axis(softmax, shuffled, axis=1)
    rows = examples([4] * 3, 4)
    ours = labels_of(p.reshape(3, 4, 6), shuffled.reshape(3, 4, 6), rows)
    fitted = Fitted(signal=SparseSignal(k=6, temperatures=(1.0,)))
    theirs = encode(fitted, {"logits": logits}, true_ids=np.full(12, 7, np.int32), draws=None)
    assert np.array_equal(ours["ids"].reshape(12, 6), theirs["ids"])
    flat = {name: ours[name].reshape(12, *ours[name].shape[2:]) for name in theirs}
    ours_target, theirs_target = (
        target(decode(fitted, arrays), temperature=1.0) for arrays in (flat, theirs)
    )
    np.testing.assert_allclose(ours_target, theirs_target, atol=5e-3)  # a step of fp16 at 8 nat
    np.testing.assert_allclose(flat["log_tail"], theirs["log_tail"], rtol=1e-4)
    kept = (ids == 7).any(axis=1)
    assert np.array_equal(np.isnan(flat["true_logit"]), ~kept)
    # NaN says that a true logit is not known; all other rules of the codec hold.
    dims = LabelDims(seq_length=8, max_predictions=4, vocab_size=VOCAB_SIZE)
    known = {**flat, "true_logit": flat["zmax"]}
    assert find_fault(fitted, known, dims=dims) is None


def test_export_gives_the_probabilities_back_within_the_stated_tolerance() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, VOCAB_SIZE)) * rng.uniform(0.1, 8, size=(200, 1))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids = np.argsort(-softmax, axis=1, kind="stable")[:, :10].reshape(50, 4, 10)
    p = np.take_along_axis(softmax, ids.reshape(200, 10), axis=1).reshape(50, 4, 10)
    labels = labels_of(p, ids, examples([4] * 50, 4))
    back = from_labels(labels, Fitted(signal=SparseSignal(k=10, temperatures=(1.0,))))
    assert np.array_equal(back[TOP_IDS].reshape(ids.shape), labels["ids"])
    p = np.float32(p)
    depth = np.log(p.max(-1, keepdims=True) / p)
    error = np.abs(back[PROBABILITIES].reshape(p.shape) / p - 1)
    assert (error <= depth.max(-1, keepdims=True) / 1000 + 1e-6).all()
    assert error.max() > 1e-5  # fp16 is there: the bound is not about nothing


def test_padding_slots_are_zero_both_ways() -> None:
    p = np.full((2, 2, 3), 0.25)
    ids = np.array([[[1, 2, 3], [4, 5, 6]]] * 2)
    labels = labels_of(p, ids, examples([1, 0], 2))
    assert not any(labels[name][1].any() for name in ("ids", "logits", "log_tail", "zmax"))
    back = from_labels(labels, Fitted(signal=SparseSignal(k=3, temperatures=(1.0,))))
    assert back[PROBABILITIES].reshape(2, 2, 3)[1].tolist() == [[0] * 3] * 2
    assert back[TOP_IDS].reshape(2, 2, 3)[0, 1].tolist() == [0, 0, 0]


def test_labels_follow_their_slots_when_those_are_sorted() -> None:
    p = np.array([[[0.5], [0.25]]])
    labels = labels_of(p, np.array([[[3], [4]]]), examples([2], 2, [[1, 0]]))
    assert labels["ids"].tolist() == [[[4], [3]]]


@pytest.mark.parametrize("excess", [0.0, 3e-8, 1e-6])
def test_tail_below_what_float32_tells_is_stored_as_its_resolution(excess: float) -> None:
    p = np.array([[[0.75, 0.25 + excess]]])
    labels = labels_of(p, np.array([[[1, 2]]]), examples([1], 1))
    assert labels["log_tail"][0, 0, 0] == np.float32(np.log(2.0**-24))


def test_whole_vocabulary_has_no_tail() -> None:
    p = np.full((1, 1, VOCAB_SIZE), 1 / VOCAB_SIZE)
    ids = np.arange(VOCAB_SIZE).reshape(1, 1, -1)
    labels = labels_of(p, ids, examples([1], 1))
    assert labels["log_tail"][0, 0, 0] == -np.inf
    back = from_labels(labels, Fitted(signal=SparseSignal(k=VOCAB_SIZE, temperatures=(1.0,))))
    np.testing.assert_allclose(back[PROBABILITIES], 1 / VOCAB_SIZE, rtol=1e-6)


def test_probability_that_underflowed_comes_back_as_zero() -> None:
    labels = labels_of(np.array([[[0.5, 0.0]]]), np.array([[[1, 2]]]), examples([1], 1))
    assert labels["logits"][0, 0, 1] == np.float16(-65504)
    back = from_labels(labels, Fitted(signal=SparseSignal(k=2, temperatures=(1.0,))))
    np.testing.assert_allclose(back[PROBABILITIES], [[0.5, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("p", "ids", "message"),
    [
        ([0.5, np.nan], [1, 2], "not finite"),
        ([0.5, -0.1], [1, 2], r"not in \[0, 1\]"),
        ([0.8, 0.3], [1, 2], "adds up to more than 1"),
        ([0.0, 0.0], [1, 2], "a slot of zeros"),
        ([0.5, 0.2], [1, VOCAB_SIZE], r"top_k_indices is not in \[0, 50\)"),
        ([0.5, 0.2], [1, -1], r"top_k_indices is not in \[0, 50\)"),
        ([0.5, 0.2], [3, 3], "an id twice in one slot"),
    ],
)
def test_impossible_probabilities_are_refused_and_named(p: list, ids: list, message: str) -> None:
    good = np.full((2, 1, 2), 0.25), np.array([[[1, 2]], [[1, 2]]])
    good[0][1, 0], good[1][1, 0] = p, ids
    with pytest.raises(LimbeckError, match=f"f: record 1: .*{message}"):
        labels_of(*good, examples([1, 1], 1))
    labels_of(*good, examples([1, 0], 1))  # padding may hold anything


def test_family_without_temperature_1_and_broken_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match=r"temperatures are \[2.0\]"):
        from_labels({}, Fitted(signal=SparseSignal(k=2, temperatures=(2.0,))))
    assert kept_ids(12, 4, where="f") == 3
    with pytest.raises(LimbeckError, match="f: .* 13 values, which is no multiple of the 4 slots"):
        kept_ids(13, 4, where="f")
