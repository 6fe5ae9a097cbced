"""The cheapest transport between two sets of layers, exactly. NumPy only."""

# N sources, M sinks

import math

import numpy as np

__all__ = ["transport_plan"]


def transport_plan(costs: np.ndarray) -> np.ndarray:
    """The plan F that moves the least cost sum_ij F_ij c_ij between uniform weights.

    Every source i has 1 / N to give and every sink j has 1 / M to take: the linear program of the
    Earth Mover's Distance (Rubner et al. 2000; Li et al. 2020), in whole units of
    1 / lcm(N, M). Solved by successive shortest paths with potentials: exact up to the rounding of
    float64, and the same plan wherever it is computed from the same costs.

    Args:
      costs: (N, M), of either sign.

    Returns:
      (N, M) float64, at least 0; rows add up to 1 / N and columns to 1 / M. Costs that are not
      finite have no cheapest plan: all pairs then weigh the same.
    """
    costs = np.asarray(costs, np.float64)
    sources, sinks = costs.shape
    if not np.isfinite(costs).all():
        return np.full(costs.shape, 1.0 / (sources * sinks))
    units = math.lcm(sources, sinks)
    flow = np.zeros(costs.shape, np.int64)
    room = np.full(sinks, units // sinks)
    potentials = np.zeros(sources), costs.min(axis=0)  # reduced costs are never negative
    for source in range(sources):
        left = units // sources
        while left:
            path = _cheapest_path(costs, flow, room, potentials, source)
            left -= _push(flow, room, path, at_most=left)
    return flow / units


Path = list[tuple[int, int]]  # (source, sink) from the first source on, in steps of one arc each


def _cheapest_path(
    costs: np.ndarray,
    flow: np.ndarray,
    room: np.ndarray,
    potentials: tuple[np.ndarray, np.ndarray],
    start: int,
) -> Path:
    """The cheapest way from a source to a sink with room (Dijkstra); moves the potentials.

    From source i to sink j at the reduced cost c_ij - u_i - v_j, and back for nothing where i gives
    to j already.

    Returns:
      The arcs (i, j) that gain flow and, between them, those that lose it, from the end.
    """
    sources, sinks = costs.shape
    u, v = potentials
    distance = np.full(sources + sinks, np.inf)  # sources, then sinks
    parent = np.full(sources + sinks, -1)
    is_open = np.ones(sources + sinks, bool)
    distance[start] = 0.0
    while True:
        node = int(np.argmin(np.where(is_open, distance, np.inf)))
        is_open[node] = False
        if node >= sources and room[node - sources]:
            break
        found = np.full(sources + sinks, np.inf)
        if node < sources:
            found[sources:] = distance[node] + np.maximum(costs[node] - u[node] - v, 0.0)
        else:
            found[:sources][flow[:, node - sources] > 0] = distance[node]
        closer = is_open & (found < distance)
        distance[closer], parent[closer] = found[closer], node
    gain = np.where(is_open, 0.0, distance[node] - distance)
    u += gain[:sources]
    v -= gain[sources:]
    arcs = []
    while parent[node] >= 0:
        arcs.append((min(node, parent[node]), max(node, parent[node]) - sources))
        node = int(parent[node])
    return arcs


def _push(flow: np.ndarray, room: np.ndarray, path: Path, *, at_most: int) -> int:
    """Moves as much as the path takes along it; returns how much."""
    gaining, losing = path[::2], path[1::2]
    end = gaining[0][1]
    amount = min([at_most, int(room[end]), *(int(flow[arc]) for arc in losing)])
    for arc in gaining:
        flow[arc] += amount
    for arc in losing:
        flow[arc] -= amount
    room[end] -= amount
    return amount
