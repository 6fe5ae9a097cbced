import numpy as np

from limbeck.labels import SparseSignal, codecs
from limbeck.labels.fitted import Fitted
from limbeck.teachers import host_codec

FITTED = Fitted(signal=SparseSignal(k=4, temperatures=(1.0, 2.0)))


def logits(num_rows, vocab_size=50):
    rng = np.random.default_rng(1)
    return rng.normal(0, 3, (num_rows, vocab_size)).round(1).astype(np.float32)  # with ties


def encode(function, z):
    true_ids = (np.arange(len(z)) % 50).astype(np.int32)
    draws = np.zeros((len(z), 2), np.int32)
    return function(FITTED, {"logits": z}, true_ids=true_ids, draws=draws)


def test_parts_are_bit_equal_to_the_codec_on_all_rows():
    z = logits(2 * host_codec.ROWS_AT_A_TIME + 3)
    found, expected = encode(host_codec.encode, z), encode(codecs.encode, z)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_no_rows_give_no_rows():
    assert encode(host_codec.encode, logits(0))["ids"].shape == (0, 4)


def test_row_with_a_logit_that_is_not_finite_is_marked_and_no_other():
    z = logits(4)
    z[1, 3], z[2, 0] = np.nan, -np.inf
    found = encode(host_codec.encode, z)
    np.testing.assert_array_equal(np.isnan(found["zmax"]), [False, True, True, False])
