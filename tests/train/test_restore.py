import keras
import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import LimbeckError
from train.restore import fill


def variables():
    return {
        "a": keras.Variable(np.zeros((2, 3), np.float32)),
        "n": keras.Variable(0, dtype="int64"),
    }


def test_variables_get_the_tensors_of_their_names():
    named = variables()
    fill(named, {"n": np.array(7), "a": np.ones((2, 3), np.float32)}, where="file")
    assert named["a"].numpy().sum() == 6 and int(named["n"].numpy()) == 7


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": np.ones((2, 3))}, "'n' is only in one of"),
        ({"a": np.ones((2, 3)), "n": np.array(1), "b": np.ones(1)}, "'b' is only in one of"),
        ({"a": np.ones((3, 2)), "n": np.array(1)}, r"'a' has shape \(3, 2\); expected \(2, 3\)"),
        ({"a": np.ones((2, 3)), "n": np.ones(1)}, "'n' has shape"),
    ],
)
def test_tensors_that_do_not_fit_change_nothing(tensors, message):
    named = variables()
    with pytest.raises(LimbeckError, match=f"file: {message}"):
        fill(named, tensors, where="file")
    assert tf.reduce_sum(named["a"].value) == 0
