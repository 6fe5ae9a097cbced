import keras
import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError
from train.checkpoints.restore import fill

F32 = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
I64 = np.array(1)


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
        ({"a": F32[0]}, "it lacks 'n'"),
        ({"a": F32[0], "n": I64, "b": F32[1], "c": I64}, "it has, .*, 'b' and 1 more"),
        ({"a": F32[1], "n": I64}, r"'a' is float32 \(3, 2\) there and float32 \(2, 3\) here"),
        ({"a": F32[0], "n": F32[1]}, r"'n' is float32 \(3, 2\) there and int64 \(\) here"),
    ],
)
def test_tensors_that_do_not_fit_change_nothing(tensors, message):
    named = variables()
    with pytest.raises(UsageError, match=f"file: a checkpoint of another model.*: {message}"):
        fill(named, tensors, where="file")
    assert tf.reduce_sum(named["a"].value) == 0
