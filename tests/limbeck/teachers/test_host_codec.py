import numpy as np

from limbeck.labels import SparseSignal, sparse
from limbeck.teachers import host_codec

SIGNAL = SparseSignal(k=4, temperatures=(1.0, 2.0))


def logits(num_rows, vocab_size=50):
    rng = np.random.default_rng(1)
    return rng.normal(0, 3, (num_rows, vocab_size)).round(1).astype(np.float32)  # with ties


def test_parts_are_bit_equal_to_the_codec_on_all_rows():
    z = logits(2 * host_codec.ROWS_AT_A_TIME + 3)
    true_ids = np.arange(len(z)) % 50
    expected = sparse.encode(z, true_ids, k=SIGNAL.k, temperatures=SIGNAL.temperatures)
    found = host_codec.encode_sparse(z, true_ids, signal=SIGNAL)
    assert found.keys() == expected.keys() and found["ids"].dtype == np.int32
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_row_with_a_logit_that_is_not_finite_is_marked_and_no_other():
    z = logits(4)
    z[1, 3], z[2, 0] = np.nan, -np.inf
    found = host_codec.encode_sparse(z, np.zeros(4, int), signal=SIGNAL)
    np.testing.assert_array_equal(np.isnan(found["zmax"]), [False, True, True, False])
    fault = sparse.find_fault(found, vocab_size=50)
    assert fault.position == 1 and "not finite" in fault.reason


def test_state_too_large_for_its_dtype_becomes_infinite():
    states = np.array([[1.0, 1e6]], np.float32)
    np.testing.assert_array_equal(host_codec.encode_states(states, dtype="float16"), [[1, np.inf]])
