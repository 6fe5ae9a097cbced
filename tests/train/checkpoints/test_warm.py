"""What a stage takes over from the one before."""

import keras
import numpy as np
import pytest

from limbeck.config import UsageError
from train.checkpoints.warm import WarmStart, fresh_maps, take_over


def variables():
    shapes = {
        "model/encoder/kernel": (2, 3),
        "projection/wide/kernel": (3, 4),
        "projection/0_hidden_mse/kernel": (3, 4),
    }
    return {name: keras.Variable(np.zeros(shape, np.float32)) for name, shape in shapes.items()}


def warm(**changes):
    named = variables()
    tensors = {name: np.full(v.shape, 2.0, np.float32) for name, v in named.items()}
    tensors |= {"optimizer/00000": np.array(7), "projection/gone/kernel": np.ones(3)}
    origin = {"stage": "01-a", "step": 7, "sha256": "0" * 64}
    tensors.update({k: v for k, v in changes.items() if v is not None})
    for name in [k for k, v in changes.items() if v is None]:
        del tensors[name]
    return WarmStart(
        origin=origin, position=49, tensors=tensors, carries=lambda name: not name[0].isdigit()
    )


def test_model_and_same_projections_are_taken_over():
    named = variables()
    assert fresh_maps(named, warm()) == ("0_hidden_mse",)
    take_over(named, warm())
    assert [float(v.numpy().mean()) for v in named.values()] == [2.0, 2.0, 0.0]


def test_projection_of_another_shape_starts_anew():
    named = variables()
    started = warm(**{"projection/wide/kernel": np.ones((3, 5), np.float32)})
    assert fresh_maps(named, started) == ("wide", "0_hidden_mse")
    take_over(named, started)
    assert float(named["projection/wide/kernel"].numpy().max()) == 0.0


@pytest.mark.parametrize(
    ("there", "message"), [(None, "has nothing for"), (np.ones((2, 4)), r"one of shape \(2, 4\)")]
)
def test_model_that_differs_is_refused_and_nothing_is_assigned(there, message):
    named = variables()
    with pytest.raises(UsageError, match=f"stage 01-a: its checkpoint {message}|{message}"):
        take_over(named, warm(**{"model/encoder/kernel": there}))
    assert all(float(v.numpy().max()) == 0.0 for v in named.values())
