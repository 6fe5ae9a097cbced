"""Targets from stored sparse logits: the head with its bucket, and the sampled distribution."""

# N positions, K kept ids, E entries at most, G temperatures in the grid

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_encoding import CODE_LEVELS
from limbeck.labels.sparse_math import log1mexp

__all__ = [
    "Sparse",
    "decode",
    "head_logits",
    "sampled_target",
    "sampled_targets",
    "target",
    "temperature_column",
]


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """A decoded head with the mass outside it; any leading shape in place of N."""

    ids: np.ndarray
    """(N, K) int32, by logit descending; K is E where heads have unlike lengths."""
    logits: np.ndarray
    """(N, K) float32, relative to the largest logit of the row; -inf where there is no entry."""
    log_tail: np.ndarray
    """(N, G) float32, natural log of the mass outside the head. Of the lean form with a sample it
    is what the codes leave over: good to 1e-3 of the head's mass, for looking at only."""
    temperatures: tuple[float, ...]
    """The G temperatures of `log_tail`."""


def decode(fitted: Fitted, arrays: Mapping[str, np.ndarray]) -> Sparse:
    """The head as stored, of any leading shape, and the mass outside it."""
    signal = _of(fitted)
    ids, logits = np.asarray(arrays["ids"]).astype(np.int32), _logits(signal, arrays)
    if "codes" in arrays:
        mass = np.exp(logits.astype(np.float64) / signal.temperatures[0]).sum(axis=-1)
        with np.errstate(divide="ignore"):
            tail = np.log(np.maximum(1.0 - mass, 0.0))[..., None].astype(np.float32)
        logits = logits - logits.max(axis=-1, keepdims=True)
    else:
        tail = np.asarray(arrays["log_tail"], np.float32)
    if tail.shape[-1] != len(signal.temperatures):
        raise LimbeckError(
            f"log_tail has {tail.shape[-1]} temperatures but the grid is "
            f"{list(signal.temperatures)}"
        )
    if signal.is_ragged:
        order = np.argsort(-logits, axis=-1, kind="stable")
        logits = np.take_along_axis(logits, order, axis=-1)
        ids = np.take_along_axis(ids, order, axis=-1)
        ids = np.where(np.isneginf(logits), ids[..., :1], ids)  # an id of the row that is harmless
    return Sparse(ids=ids, logits=logits, log_tail=tail, temperatures=signal.temperatures)


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
      (N, K + 1) float32 natural log-probabilities, the bucket last (-inf where k = V, and where
      there is no entry).

    Raises:
      UsageError: for a temperature outside the grid.
    """
    column = temperature_column(decoded.temperatures, temperature)
    log_tail = decoded.log_tail[..., column].astype(np.float32)
    log_head = _log_head(decoded.logits, log_tail, temperature)
    return np.concatenate([log_head, log_tail[..., None]], axis=-1)


def sampled_target(
    fitted: Fitted, arrays: Mapping[str, np.ndarray], *, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """An unbiased sparse estimate of the teacher's distribution at a temperature.

    An id of the head has its probability. One that was drawn with chance c (its mean probability
    over the grid, divided by the threshold) has its probability / c: at a single temperature
    exactly the threshold. The weights of a position add up to 1 in the mean over draws.

    Args:
      fitted: of the family; its signal has a sample.
      arrays: flat encoded arrays of any leading shape.
      temperature: one of the grid.

    Returns:
      ids (N, E) int32 and weights (N, E) float32, 0 where there is no entry.

    Raises:
      UsageError: for a temperature outside the grid, or a signal without a sample.
    """
    ids, weights = sampled_targets(fitted, arrays)
    return ids, weights[..., temperature_column(_of(fitted).temperatures, temperature)]


def sampled_targets(
    fitted: Fitted, arrays: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The estimates of `sampled_target` at every temperature of the grid.

    Returns:
      ids (N, E) int32 and weights (N, E, G) float32.

    Raises:
      UsageError: for a signal without a sample.
    """
    signal = _of(fitted)
    if not signal.sample or signal.threshold is None:
        raise UsageError("the family has no sample; extract it with sample: true")
    ids = np.asarray(arrays["ids"]).astype(np.int32)
    is_head, is_drawn = (entries[..., None] for entries in _classes(arrays, ids.shape[-1]))
    if "codes" in arrays:
        codes = np.asarray(arrays["codes"])[..., None].astype(np.float32)
        head = (codes / np.float32(CODE_LEVELS)) ** 2
        return ids, np.where(is_head, head, np.where(is_drawn, np.float32(signal.threshold), 0.0))
    logits = np.asarray(arrays["logits"]).astype(np.float32)
    log_probs = [
        _log_head(logits, arrays["log_tail"][..., i], t, is_head[..., 0])
        for i, t in enumerate(signal.temperatures)
    ]
    probs = np.exp(np.stack(log_probs, axis=-1).astype(np.float64))
    mean = np.maximum(probs.mean(axis=-1, keepdims=True), 1e-300)
    drawn = probs / mean * signal.threshold
    return ids, np.where(is_head, probs, np.where(is_drawn, drawn, 0.0)).astype(np.float32)


def head_logits(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, E) logits of a threshold's head in the stored order and type; -inf at other entries."""
    logits = np.asarray(arrays["logits"])
    return np.where(_classes(arrays, logits.shape[-1])[0], logits, logits.dtype.type(-np.inf))


def _log_head(
    logits: np.ndarray, log_tail: np.ndarray, temperature: float, is_head: np.ndarray | None = None
) -> np.ndarray:
    """Log-probabilities of entries, from the exact mass of the head that they are relative to."""
    scaled = logits.astype(np.float32) / np.float32(temperature)
    head = scaled if is_head is None else np.where(is_head, scaled, np.float32(-np.inf))
    largest = head.max(axis=-1, keepdims=True)
    total = np.log(np.exp(head - largest).sum(axis=-1, keepdims=True))
    shifted: np.ndarray = scaled - largest - total
    return shifted + log1mexp(np.asarray(log_tail, np.float32))[..., None]


def _logits(signal: SparseSignal, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, K) float32 logits of the head, -inf elsewhere; those of codes are T log p."""
    if "codes" in arrays:
        with np.errstate(divide="ignore"):
            log_root = np.log(np.asarray(arrays["codes"]).astype(np.float32) / CODE_LEVELS)
        logits = (2.0 * signal.temperatures[0] * log_root).astype(np.float32)
    else:
        logits = np.asarray(arrays["logits"]).astype(np.float32)
    if not signal.is_ragged:
        return logits
    return np.where(_classes(arrays, logits.shape[-1])[0], logits, np.float32(-np.inf))


def _classes(arrays: Mapping[str, np.ndarray], num_entries: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, E) whether an entry is of the head, and whether it was drawn."""
    column = np.arange(num_entries)
    heads = np.asarray(arrays["num_head"]).astype(np.int64)[..., None]
    drawn = np.asarray(arrays.get("num_sampled", 0 * arrays["num_head"])).astype(np.int64)
    return column < heads, (column >= heads) & (column < heads + drawn[..., None])


def _of(fitted: Fitted) -> SparseSignal:
    assert isinstance(fitted.signal, SparseSignal)
    return fitted.signal
