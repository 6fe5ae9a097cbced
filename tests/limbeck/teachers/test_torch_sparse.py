"""The PyTorch twin against the NumPy codec: bit-equal but for the order of summation."""

import numpy as np
import pytest

from limbeck.labels import SparseSignal, sparse
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted

GRID = (1.0, 2.0, 4.0)
V = 300


def rows():
    """Cases by name: (N, V) float32."""
    rng = np.random.default_rng(0)
    plain = rng.normal(0, 3, (8, V))
    return {
        "plain": plain,
        "ties everywhere": plain.round(0),
        "one value": np.zeros((2, V)),
        "ties at the border of the head": np.where(np.arange(V) % 2, 1.0, 0.0)[None] * [[1], [5]],
        "a tail of e^-60": np.where(np.arange(V) == 7, 60.0, rng.normal(0, 1, (3, V))),
        "below the smallest fp16": np.where(np.arange(V) == 7, 1e5, plain),
        "large": plain * 1e4,
    }


def family(k):
    return Fitted(signal=SparseSignal(k=k, temperatures=GRID))


@pytest.fixture(scope="module")
def encode(torch):
    from limbeck.teachers import torch_sparse

    def run(fitted, logits, true_ids, words=None):
        found = torch_sparse.encode(
            fitted,
            {"logits": torch.from_numpy(logits)},
            true_ids=torch.from_numpy(true_ids),
            draws=None if words is None else torch.from_numpy(words),
        )
        return {name: t.numpy() for name, t in found.items()}

    return run


@pytest.mark.parametrize("k", [1, 6, V - 1, V])
@pytest.mark.parametrize("case", rows())
def test_it_equals_the_numpy_codec(encode, case, k):
    logits = rows()[case].astype(np.float32)
    true_ids = np.arange(len(logits)) * 31 % V
    expected = sparse.encode(family(k), {"logits": logits}, true_ids=true_ids, draws=None)
    found = encode(family(k), logits, true_ids)
    assert found.keys() == expected.keys()
    for name in ("zmax", "ids", "logits", "true_logit"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    np.testing.assert_allclose(found["log_tail"], expected["log_tail"], rtol=1e-6, atol=2e-6)
    assert found["logits"].dtype == np.float16 and found["log_tail"].dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, V - 1])
def test_row_with_a_logit_that_is_not_finite_is_marked(encode, bad, column):
    logits = rows()["plain"].astype(np.float32)
    logits[2, column] = bad
    found = encode(family(6), logits, np.zeros(8, int))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found["zmax"])), [2])


@pytest.mark.parametrize(
    "signal",
    [
        SparseSignal(threshold=0.02, sample=True, form="lean", temperatures=(1,)),
        SparseSignal(k=3, threshold=0.1, sample=True, form="lean", temperatures=(2,)),
        SparseSignal(threshold=0.05, sample=True, temperatures=GRID),
        SparseSignal(k=4, threshold=0.05),
        SparseSignal(threshold=0.01, form="lean", temperatures=(4,)),
    ],
)
@pytest.mark.parametrize("case", ["plain", "ties everywhere", "one value", "large"])
def test_thresholds_pick_the_same_entries(encode, case, signal):
    logits = np.tile(rows()[case].astype(np.float32), (10, 1))  # more than a part
    true_ids = np.arange(len(logits)) * 31 % V
    words = draws(5, np.ones((1, 16), np.uint8), np.zeros_like(true_ids), np.arange(len(logits)))
    fitted = Fitted(signal=signal)
    expected = sparse.encode(fitted, {"logits": logits}, true_ids=true_ids, draws=words)
    found = encode(fitted, logits, true_ids, words)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if name == "log_tail":
            np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=2e-6)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("k", [1, 16, 46, 47])  # 46 whole blocks of columns, and a rest
@pytest.mark.parametrize("digits", [0, 1, 6])
def test_head_among_many_columns(encode, k, digits):
    rng = np.random.default_rng(k)
    logits = rng.normal(0, 1.5, (70, 2999)).round(digits)  # more than a part; -0, too
    logits = logits.astype(np.float32)
    logits[:3, -1], logits[3:6, -60] = 9.0, 9.0
    expected = sparse.encode(family(k), {"logits": logits}, true_ids=np.arange(70), draws=None)
    found = encode(family(k), logits, np.arange(70))
    for name, values in expected.items():
        if name == "log_tail":
            np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=2e-6)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("temperatures", [(1.0, 4.0), (1.0, 3.0), (2.0,), (0.5, 1.0, 1.5, 6.0)])
def test_any_grid_of_temperatures(encode, temperatures):
    logits = rows()["plain"].astype(np.float32)
    fitted = Fitted(signal=SparseSignal(k=6, temperatures=temperatures))
    expected = sparse.encode(fitted, {"logits": logits}, true_ids=np.arange(8), draws=None)
    found = encode(fitted, logits, np.arange(8))
    np.testing.assert_allclose(found["log_tail"], expected["log_tail"], rtol=1e-6, atol=2e-6)
