"""Values and gradients of the losses on states, against the published TextBrewer in PyTorch.

TextBrewer's means are over what is real, so ours are sums over entries divided by the count that
the objective would use. Tolerances: both compute in float32, from sums of at most some hundred
products.
"""

import numpy as np
import pytest
import tensorflow as tf

from train.losses import (
    fsp_values,
    hidden_cosine_values,
    hidden_mse_values,
    mmd_values,
    pkd_values,
)

torch = pytest.importorskip("torch")
published = pytest.importorskip("textbrewer.losses")

# m rows, T tokens, D width
LENGTHS = np.array([9, 3, 6])
M, T, D = len(LENGTHS), 9, 8
REAL = np.arange(T) < LENGTHS[:, None]
FULL = np.ones_like(REAL)


def states(seed, width=D):
    """(m, T, D), with junk at padding; whole halves, as stored in float16."""
    drawn = np.random.default_rng(seed).normal(size=(M, T, width)).astype(np.float16)
    return drawn.astype(np.float32)


def ours(function, student):
    """Value and gradients of `function`, a scalar of the student's layers."""
    student = [tf.constant(s) for s in student]
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = function(student)
    return float(value), [tf.convert_to_tensor(g).numpy() for g in tape.gradient(value, student)]


def theirs(loss, student, teacher, real, *, pair):
    student = [torch.tensor(s, requires_grad=True) for s in student]
    teacher = [torch.tensor(t) for t in teacher]
    mask = None if real is None else torch.tensor(real)
    value = loss(student, teacher, mask) if pair else loss(student[0], teacher[0], mask)
    value.backward()
    return value.item(), [s.grad.numpy() for s in student]


def agree(got, expected):
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    for a, b in zip(got[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max())


@pytest.mark.parametrize("real", [REAL, FULL])
@pytest.mark.parametrize(
    ("values", "name"), [(hidden_mse_values, "hid_mse_loss"), (hidden_cosine_values, "cos_loss")]
)
def test_token_losses_equal_textbrewers_with_a_mask(values, name, real):
    student, teacher, index = states(0), states(1), np.flatnonzero(real)

    def scalar(layers):
        s, t = (tf.gather(tf.reshape(x, (-1, D)), index) for x in (layers[0], teacher))
        return tf.reduce_sum(values(s, t)) / real.sum()

    expected = theirs(getattr(published, name), [student], [teacher], real, pair=False)
    agree(ours(scalar, [student]), expected)


def test_pkd_at_the_first_token_equals_textbrewers():
    student, teacher = states(2), states(3)
    got = ours(lambda x: tf.reduce_sum(pkd_values(x[0][:, 0], teacher[:, 0])) / M, [student])
    agree(got, theirs(published.pkd_loss, [student], [teacher], REAL, pair=False))


@pytest.mark.parametrize("real", [REAL, FULL])
def test_fsp_equals_textbrewers_with_a_mask(real):
    student, teacher = [states(4), states(5)], [states(6), states(7)]
    mask = real[..., None].astype(np.float32)
    tokens = tf.constant(real.sum(1), tf.float32)

    def scalar(layers):
        rows = fsp_values([x * mask for x in layers], [t * mask for t in teacher], tokens)
        return tf.reduce_sum(rows) / M

    agree(ours(scalar, student), theirs(published.fsp_loss, student, teacher, real, pair=True))


def mmd_scalar(teacher, real):
    mask = real[..., None].astype(np.float32)

    def scalar(layers):
        values = mmd_values([x * mask for x in layers], [t * mask for t in teacher])
        return tf.reduce_sum(values) / (real.sum(axis=1) ** 2).sum()

    return scalar


def test_mmd_of_whole_rows_equals_textbrewers_at_other_widths():
    student, teacher = [states(8), states(9)], [states(10, 12), states(11, 12)]
    expected = theirs(published.mmd_loss, student, teacher, None, pair=True)
    agree(ours(mmd_scalar(teacher, FULL), student), expected)


def test_mmd_with_a_mask_equals_textbrewers_but_for_its_divisor():
    """With a mask TextBrewer divides the products by the padded length in place of the width."""
    student, teacher = [states(12), states(13)], [states(14, 12), states(15, 12)]
    scaled = [x * np.sqrt(T / x.shape[-1], dtype=np.float32) for x in (*student, *teacher)]
    value, grads = theirs(published.mmd_loss, scaled[:2], scaled[2:], REAL, pair=True)
    expected = value, [g * np.sqrt(T / D) for g in grads]
    agree(ours(mmd_scalar(teacher, REAL), student), expected)
