"""What is settled for the global batch, and a student's pooled output."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import HiddenSignal
from train.objective import Outputs, bind
from train.recipe import make_term

# m rows, B of the global batch, D width
M, B, D = 3, 5, 4


class FakeFamily:
    """All that `bind` looks at."""

    signal = HiddenSignal(layer=1, positions="first")
    fitted = Fitted(signal=signal)
    list_name = "first"
    hidden_dim = D


def micro_batch(teacher, places):
    """Rows 0 and 1 count; row 2 only fills, points at the place of row 0 and holds NaN."""
    return {
        "ids": tf.zeros((M, 2), tf.int32),
        "places": tf.constant(places, tf.int32),
        "items": {
            "first": {
                "index": tf.constant([0, 2, 0], tf.int32),
                "valid": tf.constant([True, True, False]),
            }
        },
        "teacher": {"cls": {"states": tf.constant(teacher, tf.float16)}},
    }


def test_pooled_output_is_compared_with_the_states_of_the_global_batch():
    rng = np.random.default_rng(0)
    term = make_term("contrastive", signal="cls", student="pooled", temperature=0.5)
    objective = bind([term], {"cls": FakeFamily()}, global_batch=B)
    assert objective.asked("fed", split=False).pooled
    teachers = [rng.normal(size=(M, D)).astype(np.float16) for _ in range(2)]
    for teacher in teachers:
        teacher[2] = np.nan
    batches = [micro_batch(teachers[0], [4, 1, 4]), micro_batch(teachers[1], [0, 3, 0])]
    pooled = tf.constant(rng.normal(size=(M, D)), tf.float32)
    outputs = {"fed": Outputs(pooled=pooled)}
    total = sum(objective.statistics(outputs, batch, {})[0].numpy() for batch in batches)
    keys = np.zeros((B, D))
    keys[[4, 1, 0, 3]] = np.concatenate([t[:2] for t in teachers]).astype(np.float64)
    keys[[0, 1, 3, 4]] /= np.linalg.norm(keys[[0, 1, 3, 4]], axis=1, keepdims=True)
    np.testing.assert_allclose(total[:, :-1], keys, atol=1e-6)
    assert total[:, -1].tolist() == [1, 1, 0, 1, 1]

    settled = objective.settle([total], np.array([4]))
    with tf.GradientTape() as tape:
        tape.watch(pooled)
        got = objective.sums(outputs, batches[0], {}, [tf.constant(s) for s in settled])
    s = pooled.numpy()[:2] / np.linalg.norm(pooled.numpy()[:2], axis=1, keepdims=True)
    logits = s @ keys[[0, 1, 3, 4]].T / 0.5
    expected = np.log(np.exp(logits).sum(1)) - logits[[0, 1], [3, 1]]
    np.testing.assert_allclose(got, [expected.sum()], rtol=1e-5)
    gradient = tf.convert_to_tensor(tape.gradient(got, pooled)).numpy()
    assert np.isfinite(gradient).all() and gradient[:2].any(axis=1).all() and not gradient[2].any()


def test_batch_of_unknown_size_is_refused():
    term = make_term("contrastive", signal="cls", student="pooled")
    objective = bind([term], {"cls": FakeFamily()})
    batch = micro_batch(np.ones((M, D)), [0, 1, 0])
    with pytest.raises(ValueError, match="needs the size of the global batch"):
        objective.statistics({"fed": Outputs(pooled=tf.ones((M, D)))}, batch, {})
