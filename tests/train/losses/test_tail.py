"""Interpolated tails against the exact ones, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.tail import left_out_errors, log_tail_between

V = 3000
GRID = (1.0, 2.0, 4.0)


def logsumexp(z):
    largest = z.max(axis=-1, keepdims=True)
    return largest[:, 0] + np.log(np.exp(z - largest).sum(axis=-1))


def teacher(seed, num_rows=50, scale=2.5):
    """Logits as peaked as a language model's, sorted, relative to the largest."""
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=scale, size=(num_rows, V))
    z[:, :5] += rng.uniform(0, 15, size=(num_rows, 5))
    z = -np.sort(-z, axis=-1)
    return z - z[:, :1]


def exact(z, k, temperature):
    return logsumexp(z[:, k:] / temperature) - logsumexp(z / temperature)


def stored(z, k, grid=GRID):
    log_tail = np.stack([exact(z, k, t) for t in grid], axis=-1)
    return z[:, :k].astype(np.float16), log_tail.astype(np.float32)


def between(head, log_tail, temperature, grid=GRID):
    return log_tail_between(
        tf.constant(head),
        tf.constant(log_tail),
        grid=grid,
        temperature=temperature,
        vocab_size=V,
    ).numpy()


@pytest.mark.parametrize("temperature", GRID)
def test_temperatures_of_the_grid_give_what_is_stored(temperature):
    head, log_tail = stored(teacher(0), 10)
    found = between(head, log_tail, temperature)
    # Through H + t - log(1 - e^t) and back: a few ulps of numbers up to 20.
    np.testing.assert_allclose(found, log_tail[:, GRID.index(temperature)], atol=1e-5)


@pytest.mark.parametrize("temperature", [1.25, 1.5, 3.0, 3.9])
@pytest.mark.parametrize(("k", "error"), [(1, 0.15), (10, 5e-3), (100, 5e-3)])
def test_masses_between_are_close_to_the_exact_ones(temperature, k, error):
    z = teacher(1)
    found = np.exp(between(*stored(z, k), temperature))
    # What the approximation is: probability at its worst. Only one of 5 large logits is in a head
    # of 1, and the others bend the tail. A straight line between the stored log-masses is off by
    # 0.1 to 0.4 (next test).
    np.testing.assert_allclose(found, np.exp(exact(z, k, temperature)), atol=error)


def test_straight_line_between_log_masses_would_be_far_off():
    z = teacher(1)
    _, log_tail = stored(z, 10)
    straight = np.exp((log_tail[:, 0] * (1 / 1.5 - 0.5) + log_tail[:, 1] * (1 - 1 / 1.5)) / 0.5)
    assert np.abs(straight - np.exp(exact(z, 10, 1.5))).max() > 0.1


def test_each_entry_may_have_a_temperature_of_its_own():
    z = teacher(2, num_rows=4)
    head, log_tail = stored(z, 10)
    temperatures = np.array([1.0, 1.5, 2.7, 4.0], np.float32)
    found = between(head, log_tail, tf.constant(temperatures))
    rows = range(4)
    each = [between(head[i : i + 1], log_tail[i : i + 1], float(temperatures[i]))[0] for i in rows]
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-6)


def test_heads_of_unlike_lengths_count_their_entries_only():
    z = teacher(3, num_rows=2)
    head, log_tail = stored(z, 10)
    short = np.concatenate([head, np.full((2, 6), -np.inf, np.float16)], axis=-1)
    np.testing.assert_allclose(
        between(short, log_tail, 1.5), between(head, log_tail, 1.5), rtol=1e-6
    )


def test_nothing_left_out_stays_nothing():
    head = np.zeros((2, 3), np.float16)
    log_tail = np.full((2, 3), -np.inf, np.float32)
    log_tail[1] = np.log([0.1, 0.2, 0.3])
    found = between(head, log_tail, 1.5)
    assert found[0] == -np.inf and np.isfinite(found[1])


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_flat_and_certain_teachers_stay_finite(scale):
    head, log_tail = stored(teacher(4, scale=scale), 10)
    found = between(head, np.maximum(log_tail, -1e4), 1.7)
    assert np.isfinite(found).all() and (found <= 0).all()


def test_errors_of_left_out_points_bound_those_between():
    z = teacher(5)
    head, log_tail = stored(z, 10)
    errors = left_out_errors(head, log_tail, grid=GRID, vocab_size=V)
    assert set(errors) == {2.0, 4.0} and errors[2.0].shape == (50,)
    with_the_point = np.abs(np.exp(between(head, log_tail, 1.5)) - np.exp(exact(z, 10, 1.5)))
    assert with_the_point.max() < errors[2.0].max() < 0.1
