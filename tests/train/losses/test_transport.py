"""Cheapest plans, against all plans that there are, and against a proof that none is cheaper."""

import itertools
import math

import numpy as np
import pytest

from train.losses import transport_plan


def cheapest(costs):
    """The least cost of any plan: an assignment of lcm(N, M) equal units, all of them tried."""
    units = math.lcm(*costs.shape)
    spread = costs.repeat(units // costs.shape[0], 0).repeat(units // costs.shape[1], 1)
    at = np.arange(units)
    return min(spread[at, order].sum() for order in itertools.permutations(at)) / units


def has_cheaper(costs, plan, *, tolerance):
    """Whether moving units around a cycle saves anything (Floyd and Warshall's algorithm)."""
    n, m = costs.shape
    distance = np.full((n + m, n + m), np.inf)
    distance[:n, n:] = costs
    distance[n:, :n] = np.where(plan > 0, -costs, np.inf).T
    for k in range(n + m):
        distance = np.minimum(distance, distance[:, k : k + 1] + distance[k : k + 1])
    return distance.diagonal().min() < -tolerance


def check_margins(plan):
    n, m = plan.shape
    assert (plan >= 0).all()
    np.testing.assert_allclose(plan.sum(axis=1), 1 / n, rtol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / m, rtol=1e-12)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 5), (5, 1), (2, 2), (2, 3), (3, 2), (4, 2), (2, 6), (4, 4), (5, 5)]
)
@pytest.mark.parametrize("seed", range(4))
def test_plan_is_the_cheapest_of_all(shape, seed):
    costs = np.random.default_rng(seed).normal(size=shape)  # of either sign
    plan = transport_plan(costs)
    check_margins(plan)
    np.testing.assert_allclose((plan * costs).sum(), cheapest(costs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(4, 12), (6, 24), (12, 12), (7, 11), (24, 24), (24, 23)])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_no_cycle_saves_anything_in_a_large_plan(shape, scale):
    costs = np.random.default_rng(9).random(shape) * scale
    plan = transport_plan(costs)
    check_margins(plan)
    assert not has_cheaper(costs, plan, tolerance=1e-12 * scale)
    assert has_cheaper(costs, np.full(shape, 1.0), tolerance=1e-12 * scale)  # it does find them


def test_layers_that_match_are_paired():
    layers, teacher = np.arange(4.0), np.arange(12.0) // 3
    plan = transport_plan((layers[:, None] - teacher) ** 2)
    np.testing.assert_allclose(plan, (layers[:, None] == teacher) / 12)


def test_equal_costs_and_ties_give_a_plan():
    check_margins(transport_plan(np.zeros((6, 4))))
    costs = np.random.default_rng(1).integers(0, 2, (9, 6)).astype(float)
    plan = transport_plan(costs)
    check_margins(plan)
    assert not has_cheaper(costs, plan, tolerance=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_costs_that_are_not_finite_weigh_all_pairs_the_same(bad):
    costs = np.ones((2, 3))
    costs[1, 1] = bad
    np.testing.assert_allclose(transport_plan(costs), 1 / 6)
