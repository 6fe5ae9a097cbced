"""Sparse logits: the head of a teacher's distribution and the exact mass outside it.

At each masked position the k largest logits are kept, by logit descending and id ascending on
ties, together with the log-mass of everything else at every temperature of a grid. Arrays, with N
positions (a record's own arrays have its P slots in that place, zeros behind `num_positions`):

    zmax        (N,)    float32  largest logit; NaN marks a row that had a logit not finite
    ids         (N, K)  uint16 or uint32
    logits      (N, K)  float16  z - zmax, so the first is 0 and none is above it
    log_tail    (N, G)  float32  log of the mass outside the head at each grid temperature
    true_logit  (N,)    float32  logit of the true id: metadata, never part of the head

With h the log-sum-exp of z/T over the head and c over its complement, log_tail is c less the full
log-sum-exp; written as -softplus(h - c) it keeps its relative accuracy both for tails of e^-60
and where the tail is almost everything. It is never 1 - sum(head), which rounding drowns. With
k = V there is no complement and log_tail is -inf.

Rule for fp16: a relative logit below -65504 is stored as -65504. At any temperature a signal
accepts (up to 500), both have probability exactly 0 in float32, so no target changes; order
among the clamped ids is still that of the exact logits.
"""

# N positions, V vocabulary, K kept ids, G temperatures in the grid

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.fault import Fault
from limbeck.records.examples import ids_dtype

__all__ = ["Sparse", "decode", "encode", "find_fault", "log1mexp", "target", "temperature_column"]

LOWEST_FP16 = -65504.0
_LN2 = float(np.log(2.0))


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """Decoded sparse logits; any leading shape in place of N."""

    ids: np.ndarray
    """(N, K) int32."""
    logits: np.ndarray
    """(N, K) float32, relative to the largest logit of the row."""
    log_tail: np.ndarray
    """(N, G) float32, natural log of the mass outside the head."""
    temperatures: tuple[float, ...]
    """The G temperatures of `log_tail`."""


def encode(
    logits: np.ndarray, true_ids: np.ndarray, *, k: int, temperatures: Sequence[float]
) -> dict[str, np.ndarray]:
    """Encodes full logits; the reference that the device's twin is compared with.

    Args:
      logits: (N, V) float32, before softmax, without vocabulary padding.
      true_ids: (N,) true id of each position.
      k: ids to keep, 1 to V.
      temperatures: the grid.

    Returns:
      The arrays of this module, by name.

    Raises:
      LimbeckError: for a logit that is NaN or infinite, a true id outside the vocabulary, or k
        above V; names the row.
    """
    logits = np.asarray(logits, np.float32)
    true_ids = np.asarray(true_ids, np.int64)
    vocab_size = logits.shape[-1]
    if not 1 <= k <= vocab_size:
        raise LimbeckError(f"k is {k} but must be 1 to the vocabulary's {vocab_size}")
    _check_logits(logits, true_ids)
    order = _top_k(logits, k=k)
    zmax = logits.max(axis=-1)
    relative = logits.astype(np.float64) - zmax[:, None]
    head = np.take_along_axis(relative, order, axis=-1)
    tail = relative.copy()
    np.put_along_axis(tail, order, -np.inf, axis=-1)
    with np.errstate(over="ignore"):  # a mass below float32 becomes log 0 = -inf
        log_tail = np.stack([_log_tail(head, tail, t) for t in temperatures], axis=-1)
        log_tail = log_tail.astype(np.float32)
    return {
        "zmax": zmax,
        "ids": order.astype(ids_dtype(vocab_size)),
        "logits": np.maximum(head.astype(np.float32), LOWEST_FP16).astype(np.float16),
        "log_tail": log_tail,
        "true_logit": np.take_along_axis(logits, true_ids[:, None], axis=-1)[:, 0],
    }


def decode(arrays: Mapping[str, np.ndarray], *, temperatures: Sequence[float]) -> Sparse:
    """Decodes stored arrays of any leading shape; `temperatures` is the family's grid."""
    grid = tuple(float(t) for t in temperatures)
    if arrays["log_tail"].shape[-1] != len(grid):
        stored = arrays["log_tail"].shape[-1]
        raise LimbeckError(f"log_tail has {stored} temperatures but the grid is {list(grid)}")
    return Sparse(
        ids=arrays["ids"].astype(np.int32),
        logits=arrays["logits"].astype(np.float32),
        log_tail=arrays["log_tail"].astype(np.float32),
        temperatures=grid,
    )


def temperature_column(temperatures: Sequence[float], temperature: float) -> int:
    """Which column of `log_tail` belongs to a temperature.

    Raises:
      UsageError: when the temperature is not in the grid; names the grid.
    """
    grid = [float(t) for t in temperatures]
    if float(temperature) not in grid:
        raise UsageError(
            f"temperature {temperature:g} is not in the family's grid {grid}: the mass outside "
            "its kept ids is known only there; choose one of these or extract again with it"
        )
    return grid.index(float(temperature))


def target(decoded: Sparse, *, temperature: float) -> np.ndarray:
    """The teacher's distribution over its K kept ids and one bucket for all others.

    Head: log softmax(logits / T) + log(1 - tail); bucket: log_tail.

    Args:
      decoded: stored arrays, of any leading shape.
      temperature: one of the grid.

    Returns:
      (N, K + 1) float32 natural log-probabilities, the bucket last (-inf where k = V).

    Raises:
      UsageError: for a temperature outside the grid.
    """
    column = temperature_column(decoded.temperatures, temperature)
    log_tail = decoded.log_tail[..., column].astype(np.float32)
    scaled = decoded.logits / np.float32(temperature)
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    log_head = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    log_head = log_head + log1mexp(log_tail)[..., None]
    return np.concatenate([log_head, log_tail[..., None]], axis=-1)


def log1mexp(x: np.ndarray) -> np.ndarray:
    """log(1 - e^x) for x < 0, accurate at both ends (Maechler 2012, "Accurately computing")."""
    x = np.asarray(x)
    with np.errstate(divide="ignore"):  # x = 0 is no valid log-mass; it gives -inf
        small = np.log1p(-np.exp(np.minimum(x, -_LN2, dtype=x.dtype)))
        large = np.log(-np.expm1(np.maximum(x, -_LN2, dtype=x.dtype)))
    return np.where(x < -_LN2, small, large)


def find_fault(arrays: Mapping[str, np.ndarray], *, vocab_size: int) -> Fault | None:
    """The first rule that stored arrays break, if any; (N, ...), real positions only.

    Rules: everything finite, ids inside the vocabulary and not repeated, a head that is sorted and
    begins at 0, a tail below all mass and, unless k = V, above none.
    """
    logits, log_tail = arrays["logits"].astype(np.float32), arrays["log_tail"]
    ids = np.sort(arrays["ids"].astype(np.int64), axis=-1)
    no_tail = np.isneginf(log_tail)
    if ids.shape[-1] == vocab_size:
        tail_is_wrong = ("log_tail is above -inf with every id kept", ~no_tail.all(axis=-1))
    else:
        tail_is_wrong = ("log_tail is -inf", no_tail.all(axis=-1))
    with np.errstate(invalid="ignore"):
        rules = (
            ("the teacher gave a logit that is not finite", ~np.isfinite(arrays["zmax"])),
            ("true_logit is not finite", ~np.isfinite(arrays["true_logit"])),
            ("true_logit is above zmax", arrays["true_logit"] > arrays["zmax"]),
            ("a relative logit is not finite", ~np.isfinite(logits).all(axis=-1)),
            ("the first relative logit is not 0", logits[:, 0] != 0.0),
            ("the head is not sorted by logit", (np.diff(logits, axis=-1) > 0).any(axis=-1)),
            (f"an id is not below {vocab_size}", ids[:, -1] >= vocab_size),
            ("an id is repeated", (np.diff(ids, axis=-1) == 0).any(axis=-1)),
            ("log_tail is not below 0", ~(log_tail < 0.0).all(axis=-1)),
            tail_is_wrong,
        )
    for reason, bad in rules:
        if bad.any():
            return Fault(position=int(np.argmax(bad)), reason=reason)
    return None


def _top_k(logits: np.ndarray, *, k: int) -> np.ndarray:
    """(N, K) ids of the largest logits, by value descending and id ascending on ties.

    Only what is not below the k-th largest value is sorted: 12 times as fast as sorting all of a
    row at V = 30,522.
    """
    negative = -logits
    if k == logits.shape[-1]:
        return np.argsort(negative, axis=-1, kind="stable")
    last = np.partition(negative, k - 1, axis=-1)[:, k - 1 : k]
    order = np.empty((len(logits), k), np.int64)
    for row, candidates in enumerate(negative <= last):
        ids = np.flatnonzero(candidates)
        order[row] = ids[np.argsort(negative[row, ids], kind="stable")[:k]]
    return order


def _log_tail(head: np.ndarray, tail: np.ndarray, temperature: float) -> np.ndarray:
    log_odds = _logsumexp(head / temperature) - _logsumexp(tail / temperature)
    return -np.logaddexp(0.0, log_odds)


def _logsumexp(x: np.ndarray) -> np.ndarray:
    largest = x.max(axis=-1, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore", under="ignore"):  # nothing there: log 0 = -inf
        return (np.log(np.exp(x - shift).sum(axis=-1, keepdims=True)) + shift)[..., 0]


def _check_logits(logits: np.ndarray, true_ids: np.ndarray) -> None:
    bad = ~np.isfinite(logits)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise LimbeckError(f"row {row}: logit of id {column} is {logits[row, column]}")
    outside = (true_ids < 0) | (true_ids >= logits.shape[-1])
    if outside.any():
        row = int(np.argmax(outside))
        size = logits.shape[-1]
        raise LimbeckError(f"row {row}: true id {true_ids[row]} is outside the {size} ids")
