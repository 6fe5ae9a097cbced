"""The PyTorch twin against the NumPy codec: bit-equal but for the order of summation."""

import numpy as np
import pytest

from limbeck.labels import sparse

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


@pytest.fixture(scope="module")
def encode(torch):
    from limbeck.teachers.torch_codec import top_k_with_tail

    def run(logits, true_ids, **options):
        arrays = torch.from_numpy(logits), torch.from_numpy(true_ids)
        return {name: t.numpy() for name, t in top_k_with_tail(*arrays, **options).items()}

    return run


@pytest.mark.parametrize("k", [1, 6, V - 1, V])
@pytest.mark.parametrize("case", rows())
def test_it_equals_the_numpy_codec(encode, case, k):
    logits = rows()[case].astype(np.float32)
    true_ids = np.arange(len(logits)) * 31 % V
    expected = sparse.encode(logits, true_ids, k=k, temperatures=GRID)
    found = encode(logits, true_ids, k=k, temperatures=GRID)
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
    found = encode(logits, np.zeros(8, int), k=6, temperatures=GRID)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found["zmax"])), [2])


def test_states_round_as_in_numpy(torch):
    states = np.random.default_rng(0).normal(0, 100, (64, 64)).astype(np.float32)
    states[0, :3] = 1e-7, 65519.0, 65520.0  # below the normal range, the last finite one, infinite
    with np.errstate(over="ignore"):
        expected = states.astype(np.float16)
    np.testing.assert_array_equal(torch.from_numpy(states).half().numpy(), expected)
