"""Losses on attention maps against their definitions in float64, and the published TextBrewer.

Ours are float32: values and gradients agree to 1e-5 of the largest number, some ulps of sums of a
dozen terms.
"""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.attention import (
    attention_cross_entropy_values,
    attention_kl_values,
    attention_mse_values,
    log_of,
    log_probabilities,
    mean_scores,
    summed_heads,
)

B, H, T = 3, 2, 6
LENGTHS = (6, 4, 1)
REAL = np.arange(T) < np.array(LENGTHS)[:, None]
SEEN = REAL[:, None, None, :]
CAUSAL = SEEN & (np.arange(T)[:, None] >= np.arange(T))


def scores(seed, heads=H, scale=2.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(B, heads, T, T))


def softmax(row):
    e = np.exp(row - row.max())
    return e / e.sum()


def by_row(function, student, teacher, seen):
    """(B, T): mean over heads of a function of the seen keys' scores, query by query."""
    found = np.zeros((B, T))
    for b, i in zip(*np.nonzero(REAL), strict=True):
        where = np.broadcast_to(seen, (B, 1, T, T))[b, 0, i]
        rows = zip(student[b, :, i][:, where], teacher[b, :, i][:, where], strict=True)
        found[b, i] = np.mean([function(s, t) for s, t in rows])
    return found


def kl(s, t):
    p, q = softmax(t), softmax(s)
    return float((p * np.log(p / q)).sum())


def cross_entropy(s, t):
    return float(-(softmax(t) * np.log(softmax(s))).sum())


def squares(s, t):
    return float(((s - t) ** 2).sum())


def ours(function, student, teacher, seen):
    """Values at real queries, and the gradient of their sum."""
    student, teacher = (tf.constant(x, tf.float32) for x in (student, teacher))
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = function(student, teacher, seen=tf.constant(seen))
        total = tf.reduce_sum(tf.where(tf.constant(REAL), values, 0.0))
    return values.numpy(), tape.gradient(total, student).numpy()


def from_scores(function):
    return lambda s, t, seen: function(s, log_probabilities(t, seen=seen), seen=seen)


LOSSES = {
    "kl": (from_scores(attention_kl_values), kl),
    "ce": (from_scores(attention_cross_entropy_values), cross_entropy),
    "mse": (attention_mse_values, squares),
}


def slow_gradient(function, student, teacher, seen, step=1e-5):
    gradient = np.zeros_like(student)
    for at in np.ndindex(student.shape):
        high, low = student.copy(), student.copy()
        high[at] += step
        low[at] -= step
        ends = (by_row(function, x, teacher, seen).sum() for x in (high, low))
        gradient[at] = (next(ends) - next(ends)) / (2 * step)
    return gradient


@pytest.mark.parametrize("seen", [SEEN, CAUSAL], ids=["padding", "causal"])
@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_those_of_the_definition(name, seen):
    function, slow = LOSSES[name]
    student, teacher = scores(0), scores(1)
    values, gradient = ours(function, student, teacher, seen)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(
        np.where(REAL, values, 0), by_row(slow, student, teacher, seen), rtol=1e-5, atol=1e-6
    )
    expected = slow_gradient(slow, student, teacher, seen)
    # Central differences of step 1e-5 in float64 are good to about 1e-9.
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())
    hidden = ~(np.broadcast_to(seen, (B, H, T, T)) & REAL[:, None, :, None])
    assert (gradient[hidden] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_what_stands_at_padding_changes_nothing(name):
    function, _ = LOSSES[name]
    student, teacher = scores(2), scores(3)
    values, gradient = ours(function, student, teacher, SEEN)
    hidden = np.broadcast_to(~SEEN, student.shape)
    for spoiled in (1e30, -1e30):
        changed = [np.where(hidden, spoiled, x) for x in (student, teacher)]
        others = ours(function, *changed, SEEN)
        np.testing.assert_array_equal(others[0], values)
        np.testing.assert_array_equal(others[1], gradient)


@pytest.mark.parametrize("scale", [1e2, 1e5])
def test_extreme_scores_stay_exact_and_finite(scale):
    """One key takes all: KL is the margin of the student's own winner over the teacher's."""
    student, teacher = scores(4, scale=scale), scores(5, scale=scale)
    values, gradient = ours(LOSSES["kl"][0], student, teacher, SEEN)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()
    assert (values[REAL] > -1e-6).all() and (np.abs(gradient) <= 1.0).all()
    b, i = 0, 2
    margins = [
        student[b, h, i].max() - student[b, h, i, teacher[b, h, i].argmax()] for h in range(H)
    ]
    if scale == 1e5:
        np.testing.assert_allclose(values[b, i], np.mean(margins), rtol=1e-5)


def test_equal_scores_up_to_a_shift_give_exactly_no_divergence():
    student = scores(6, scale=30.0).astype(np.float32)
    values, gradient = ours(LOSSES["kl"][0], student, student, SEEN)
    assert (values == 0).all() and np.abs(gradient).max() < 1e-7
    values, _ = ours(LOSSES["kl"][0], student, student + np.float32(64.0), SEEN)
    assert np.abs(values).max() < 1e-5  # 64 costs the scores 5 of their 24 bits


def test_stored_probabilities_with_zeros_are_as_good_as_scores():
    student, teacher = scores(7), scores(8)
    p = np.zeros_like(teacher)
    for b, h, i in np.ndindex(B, H, T):
        p[b, h, i, REAL[b]] = softmax(teacher[b, h, i, REAL[b]])
    p[0, 0, 0] = np.eye(T)[3]  # all mass at one key: five zeros among real keys

    def stored(s, t, seen):
        return attention_kl_values(s, log_of(t), seen=seen)

    values, gradient = ours(stored, student, p, SEEN)
    q = softmax(student[0, 0, 0])
    other = kl(student[0, 1, 0], teacher[0, 1, 0])
    np.testing.assert_allclose(values[0, 0], (-np.log(q[3]) + other) / 2, rtol=1e-5)
    assert np.isfinite(gradient).all()
    expected = by_row(kl, student, teacher, SEEN)
    np.testing.assert_allclose(values[1:][REAL[1:]], expected[1:][REAL[1:]], rtol=1e-5, atol=1e-6)


def test_row_of_one_token_has_nothing_to_learn():
    for name in ("kl", "ce"):
        values, gradient = ours(LOSSES[name][0], scores(9), scores(10), SEEN)
        assert values[2, 0] == 0 and (gradient[2] == 0).all()


MEAN_CE = from_scores(attention_cross_entropy_values)
# Ours, TextBrewer's, what ours is divided by, heads of student and teacher.
TEXTBREWER = {
    "att_mse_loss": (attention_mse_values, "pairs", (H, H)),
    "att_mse_sum_loss": (
        lambda s, t, seen: attention_mse_values(summed_heads(s), summed_heads(t), seen=seen),
        "pairs",
        (H, 5),
    ),
    "att_ce_loss": (MEAN_CE, "tokens", (H, H)),
    "att_ce_mean_loss": (
        lambda s, t, seen: MEAN_CE(mean_scores(s), mean_scores(t), seen),
        "tokens",
        (H, 5),
    ),
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", TEXTBREWER)
def test_means_are_those_of_textbrewer(name, padded):
    """With padding too for squared differences; its distributions are over padded keys as well."""
    torch = pytest.importorskip("torch")
    published = getattr(pytest.importorskip("textbrewer.losses"), name)
    function, unit, heads = TEXTBREWER[name]
    real = REAL if padded else np.ones_like(REAL)
    lengths = real.sum(1)
    count = (lengths**2).sum() if unit == "pairs" else lengths.sum()
    ours_s, teacher = scores(11, heads[0]), scores(12, heads[1])
    student = tf.constant(ours_s, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        seen = tf.constant(real[:, None, None, :])
        values = function(student, tf.constant(teacher, tf.float32), seen=seen)
        mean = tf.reduce_sum(tf.where(tf.constant(real), values, 0.0)) / float(count)
    theirs = torch.tensor(ours_s, requires_grad=True)
    if padded and unit == "tokens":  # equal where padding has no mass in the first place
        keys = torch.tensor(real)[:, None, None, :]
        shown = torch.where(keys, theirs, torch.tensor(-1e9, dtype=torch.float64))
        teacher = np.where(real[:, None, None, :], teacher, -1e9)
    else:
        shown = theirs
    expected = published(shown, torch.tensor(teacher), torch.tensor(real.astype(np.float64)))
    expected.backward()
    np.testing.assert_allclose(mean.numpy(), expected.item(), rtol=1e-5)
    gradient = theirs.grad.numpy()
    np.testing.assert_allclose(
        tape.gradient(mean, student), gradient, atol=1e-5 * np.abs(gradient).max()
    )
