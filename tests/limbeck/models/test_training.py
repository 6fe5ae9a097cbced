"""A training step with dropout: the same gradient however its rows are cut, and the same bits."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.models import DropoutKeys, build_masked_lm, named_variables

SHAPE = EncoderArchitecture(
    vocab_size=23,
    num_layers=2,
    hidden_dim=8,
    num_heads=2,
    intermediate_dim=12,
    max_positions=9,
    hidden_dropout=0.3,
    attention_dropout=0.3,
)
NUM_ROWS = 7


@pytest.fixture(scope="module")
def model():
    return build_masked_lm(SHAPE, seed=1)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    lengths = np.array([9, 3, 5, 5, 1, 8, 2])
    mask = np.arange(9) < lengths[:, None]
    integers = {
        "ids": rng.integers(0, 23, (NUM_ROWS, 9)) * mask,
        "attention_mask": mask,
        "positions": rng.integers(0, lengths[:, None], (NUM_ROWS, 2)),
        "true_ids": rng.integers(0, 23, (NUM_ROWS, 2)),
        "row_keys": rng.integers(-(2**31), 2**31, (NUM_ROWS, 4)),
    }
    return {name: values.astype(np.int32) for name, values in integers.items()}


@tf.function(autograph=False, reduce_retracing=True)
def _gradients(model, step, ids, attention_mask, positions, true_ids, row_keys):
    keys = DropoutKeys(seed=3, step=step, row_keys=row_keys)
    with tf.GradientTape() as tape:
        states = model.encode(ids, tf.zeros_like(ids), attention_mask, dropout=keys).last
        logits = model.logits_at(states, positions)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(true_ids, logits)
        total = tf.reduce_sum(loss)
    values = [variable.value for variable in model.trainable_variables]
    return [tf.convert_to_tensor(g) for g in tape.gradient(total, values)]


def gradients(model, batch, rows, *, step=5, length=9):
    cut = {name: tf.constant(values[rows]) for name, values in batch.items()}
    for name in ("ids", "attention_mask"):
        cut[name] = cut[name][:, :length]
    found = _gradients(model, tf.constant(step, tf.int64), **cut)
    return {name: g.numpy() for name, g in zip(named_variables(model), found, strict=True)}


def assert_close(first, second):
    for name, gradient in first.items():
        scale = max(np.abs(gradient).max(), 1e-2)
        assert np.abs(gradient - second[name]).max() <= 2e-5 * scale, name


@pytest.mark.parametrize(
    "cuts",
    [[[0, 1, 2], [3, 4, 5, 6]], [[i] for i in range(NUM_ROWS)], [[6, 2, 4], [1, 0, 5, 3]]],
    ids=["two micro-batches", "row by row", "another order"],
)
def test_micro_batches_add_up_to_the_whole_gradient(model, batch, cuts):
    parts = [gradients(model, batch, cut) for cut in cuts]
    total = {name: sum(part[name] for part in parts) for name in parts[0]}
    assert_close(gradients(model, batch, list(range(NUM_ROWS))), total)


def test_shorter_padding_gives_the_same_gradient(model, batch):
    rows = [1, 2, 3, 4, 6]  # at most 5 tokens
    assert_close(gradients(model, batch, rows), gradients(model, batch, rows, length=5))


def test_same_step_gives_the_same_bits_and_another_step_does_not(model, batch):
    rows = list(range(NUM_ROWS))
    first, again = (gradients(model, batch, rows) for _ in range(2))
    other = gradients(model, batch, rows, step=6)
    for name, gradient in first.items():
        np.testing.assert_array_equal(gradient, again[name], err_msg=name)
    assert any((gradient != other[name]).any() for name, gradient in first.items())
