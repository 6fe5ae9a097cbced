"""Numbers behind the page's plots, by hand."""

import numpy as np
import pytest

from extract.distributions import CUTS, Distributions, distributions
from extract.page_distributions import fullest, token_counts
from extract.samples import UNKNOWN, FamilySample, true_ids_at
from limbeck.labels import FinalSignal, SparseSignal, codecs
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side

LOGITS = np.log(np.array([[0.5, 0.25, 0.125, 0.125], [0.97, 0.01, 0.01, 0.01]], np.float32))
TRUE_IDS = np.array([1, UNKNOWN])


class Content:
    teacher = {"vocab_size": 4}


class FakeDataset:
    name = "f"
    content = Content()


class FakeFamily:
    dataset = FakeDataset()
    name = "f"

    def __init__(self, fitted):
        self.fitted = fitted


def sample(fitted, arrays):
    return FamilySample(
        family=FakeFamily(fitted),
        keys=np.zeros((2, 16), np.uint8),
        arrays=arrays,
        rows=np.array([0, 1]),
        examples=None,
        tokens=np.array([3, 5]),
        true_ids=TRUE_IDS,
    )


def of_sparse(signal) -> Distributions:
    raw = {"logits": LOGITS}
    fitted, _ = codecs.fit(signal, raw, side=Side())
    arrays = codecs.encode(fitted, raw, true_ids=np.maximum(TRUE_IDS, 0), draws=None)
    found = distributions(sample(fitted, arrays))
    assert found is not None
    return found


def of_final() -> Distributions:
    """States are the logits themselves: the decoder matrix is the identity."""
    tensors = {"decoder/kernel": np.eye(4, dtype=np.float32), "decoder/bias": np.zeros(4, "f4")}
    fitted = Fitted(signal=FinalSignal(codec="float32"), tensors=tensors)
    found = distributions(sample(fitted, {"states": LOGITS}))
    assert found is not None
    return found


P = np.exp(LOGITS.astype(np.float64))
ENTROPY = -(P * np.log(P)).sum(-1)
HALF = 1e-3  # what fp16 logits may change of a probability or an entropy


def test_a_full_distribution_is_known_exactly():
    found = of_final()
    np.testing.assert_allclose(found.entropy_low, ENTROPY, rtol=1e-5)
    np.testing.assert_array_equal(found.entropy_low, found.entropy_high)
    np.testing.assert_allclose(found.mass[:, :3], [[0.5, 0.75, 1.0], [0.97, 0.98, 1.0]], rtol=1e-5)
    assert np.isnan(found.mass[:, 3:]).all() and CUTS[:3] == (1, 2, 4)
    np.testing.assert_array_equal(found.needed, [4, 3])
    np.testing.assert_array_equal(found.guesses[0, :2], [0, 1])
    np.testing.assert_allclose(found.true_probs[0], 0.25, rtol=1e-5)
    assert np.isnan(found.true_probs[1]) and found.is_full


def test_a_sparse_distribution_is_known_up_to_its_tail():
    found = of_sparse(SparseSignal(k=2))
    # Kept 0.5, 0.25 and a bucket of 0.25, which holds two ids more: at most 0.25 ln 2 above.
    low = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    assert found.entropy_low[0] == pytest.approx(low, abs=HALF)
    assert found.entropy_high[0] == pytest.approx(low + 0.25 * np.log(2), abs=HALF)
    assert (found.entropy_low <= ENTROPY + HALF).all()
    assert (found.entropy_high >= ENTROPY - HALF).all()
    np.testing.assert_allclose(found.mass[:, :2], [[0.5, 0.75], [0.97, 0.98]], atol=HALF)
    assert np.isnan(found.mass[:, 2:]).all()
    np.testing.assert_array_equal(found.needed, [np.inf, np.inf])
    # The truth's probability comes from its stored logit.
    assert found.true_probs[0] == pytest.approx(0.25, abs=HALF)
    assert found.hit_rates() == (0.0, 1.0)


def test_a_threshold_keeps_as_many_ids_as_there_are():
    found = of_sparse(SparseSignal(k=1, threshold=0.2))
    np.testing.assert_allclose(found.mass[:, 1], [0.75, 0.97], atol=HALF)
    np.testing.assert_array_equal(found.guesses[:, :2], [[0, 1], [0, -1]])


def test_without_a_stored_logit_the_truth_is_known_inside_the_head_only():
    found = of_sparse(SparseSignal(k=1, temperatures=(1.0,), form="lean"))
    assert np.isnan(found.true_probs).all()
    found = of_sparse(SparseSignal(k=2, temperatures=(1.0,), form="lean"))
    assert found.true_probs[0] == pytest.approx(0.25, abs=HALF)


def test_a_grid_without_1_is_looked_at_at_its_lowest():
    assert of_sparse(SparseSignal(k=2, temperatures=(2.0, 4.0))).temperature == 2.0


def test_the_fullest_family_is_a_final_one_else_the_largest_head():
    small, large = of_sparse(SparseSignal(k=1)), of_sparse(SparseSignal(k=3))
    assert fullest([small, large]) is large
    assert fullest([small, of_final(), large]).is_full
    assert fullest([]) is None


EXAMPLES = {
    "ids": np.array([[9, 4, 7, 0], [9, 5, 6, 8]], np.uint16),
    "num_tokens": np.array([3, 4], np.uint16),
}
MASKED = {
    **EXAMPLES,
    "mask_positions": np.array([[1, 0], [2, 3]], np.uint16),
    "mask_ids": np.array([[2, 0], [3, 1]], np.uint16),
    "num_masked": np.array([1, 2], np.uint16),
}


@pytest.mark.parametrize(
    "examples, causal, expected",
    [
        (MASKED, False, [[-1, 2, -1, -1], [-1, -1, 3, 1]]),
        (EXAMPLES, False, [[-1, -1, -1, -1], [-1, -1, -1, -1]]),
        (EXAMPLES, True, [[4, 7, -1, -1], [5, 6, 8, -1]]),  # the next token, none behind the last
    ],
)
def test_the_truth_is_what_was_masked_or_what_follows(examples, causal, expected):
    rows, tokens = np.divmod(np.arange(8), 4)
    found = true_ids_at(examples, rows, tokens, causal=causal)
    np.testing.assert_array_equal(found.reshape(2, 4), expected)


def test_tokens_are_counted_in_the_true_text():
    class Examples:
        num_rows = 2

        def read(self, rows):
            return {name: values[rows] for name, values in MASKED.items()}

    counts, total = token_counts(Examples(), 10)
    # Row 0 is 9 2 7, row 1 is 9 5 3 1.
    np.testing.assert_array_equal(counts, [0, 1, 1, 1, 0, 1, 0, 1, 0, 2])
    assert total == 7
