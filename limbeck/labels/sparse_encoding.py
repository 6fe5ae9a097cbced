"""Encodes full logits as sparse labels in NumPy: the reference of the accelerators' twins."""

# N positions, V vocabulary, K kept ids, E entries at most, G temperatures in the grid

from collections.abc import Mapping

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_math import LOWEST_FP16, log_tail, top_k
from limbeck.labels.sparse_pick import pick
from limbeck.records.examples import ids_dtype

__all__ = ["CODE_LEVELS", "ROWS_AT_A_TIME", "encode"]

CODE_LEVELS = 1023  # of sqrt(p), in `limbeck.labels.sparse_packing.CODE_BITS` bits
ROWS_AT_A_TIME = 64  # works in float64: several times V * 8 bytes a row

Arrays = dict[str, np.ndarray]


def encode(
    fitted: Fitted,
    raw: Mapping[str, np.ndarray],
    *,
    true_ids: np.ndarray | None,
    draws: np.ndarray | None,
) -> Arrays:
    """Encodes full logits.

    Args:
      fitted: of the family.
      raw: `logits` (N, V) float32, before softmax, without vocabulary padding.
      true_ids: (N,) true id of each position, for the grid form at masked positions; else None.
      draws: (N, 2) int32 words of `limbeck.labels.draws`, for a sample; else None.

    Returns:
      The arrays of `limbeck.labels.sparse`, by name; marked where a logit is not finite.

    Raises:
      LimbeckError: a true id outside the vocabulary, or k above V; names the row.
    """
    signal, logits = _checked(fitted, raw["logits"], true_ids, draws)
    parts = []
    for start in range(0, max(len(logits), 1), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        words = draws[part] if draws is not None and signal.sample else None
        ids = true_ids[part] if true_ids is not None and signal.needs_true_ids else None
        with np.errstate(over="ignore"):  # a difference of two logits may be -inf
            parts.append(_encode(signal, logits[part], ids, words))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _encode(
    signal: SparseSignal,
    logits: np.ndarray,
    true_ids: np.ndarray | None,
    draws: np.ndarray | None,
) -> Arrays:
    bad = ~np.isfinite(logits).all(axis=-1)
    if bad.any():
        logits = np.where(bad[:, None], np.float32(0.0), logits)
    top = top_k(logits, k=signal.k)
    if signal.is_ragged:
        arrays, head = _ragged(signal, logits, top, draws)
        arrays["num_head"] = np.where(bad, np.uint16(0), arrays["num_head"])
    else:
        relative = np.take_along_axis(logits, top, axis=-1) - logits.max(axis=-1, keepdims=True)
        arrays, head = {"ids": top, "logits": _half(relative)}, np.ones(top.shape, bool)
    arrays["ids"] = arrays["ids"].astype(ids_dtype(logits.shape[-1]))
    if "codes" not in arrays:
        tail = _log_tails(signal, logits, arrays["ids"].astype(np.int64), head)
        arrays["log_tail"] = np.where(bad[:, None], np.float32("nan"), tail)
    if signal.form == "grid":
        arrays["zmax"] = np.where(bad, np.float32("nan"), logits.max(axis=-1))
    if true_ids is not None:
        arrays["true_logit"] = np.take_along_axis(logits, true_ids[:, None], axis=-1)[:, 0]
    return arrays


def _ragged(
    signal: SparseSignal, logits: np.ndarray, top: np.ndarray, draws: np.ndarray | None
) -> tuple[Arrays, np.ndarray]:
    """Arrays of a threshold, and (N, E) which entries are of the head."""
    assert signal.threshold is not None
    relative = logits - logits.max(axis=-1, keepdims=True)
    picked = pick(
        relative,
        top,
        temperatures=signal.temperatures,
        threshold=signal.threshold,
        max_entries=signal.max_entries,
        draws=draws,
    )
    column = np.arange(signal.max_entries)
    head = column < picked.num_head[:, None]
    used = column < (picked.num_head + picked.num_drawn)[:, None]
    arrays: Arrays = {"ids": picked.ids, "num_head": picked.num_head.astype(np.uint16)}
    if signal.sample:
        arrays["num_sampled"] = picked.num_drawn.astype(np.uint16)
    if signal.sample and signal.form == "lean":
        codes = np.rint(np.sqrt(picked.probs) * CODE_LEVELS)
        arrays["codes"] = np.where(head, codes, 0.0).astype(np.uint16)
    else:
        values = _half(np.take_along_axis(relative, picked.ids, axis=-1))
        arrays["logits"] = np.where(used, values, np.float16(0.0))
    return arrays, head


def _log_tails(
    signal: SparseSignal, logits: np.ndarray, ids: np.ndarray, head: np.ndarray
) -> np.ndarray:
    """(N, G) float32 log-mass outside the head."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    kept = np.where(head, np.take_along_axis(wide, ids, axis=-1), -np.inf)
    outside = np.ones(logits.shape, bool)
    rows, columns = np.nonzero(head)
    outside[rows, ids[rows, columns]] = False
    tail = np.where(outside, wide, -np.inf)
    tails = np.stack([log_tail(kept, tail, t) for t in signal.temperatures], axis=-1)
    return tails.astype(np.float32)  # a mass below float32 becomes log 0 = -inf


def _half(relative: np.ndarray) -> np.ndarray:
    return np.maximum(relative, np.float32(LOWEST_FP16)).astype(np.float16)


def _checked(
    fitted: Fitted, logits: np.ndarray, true_ids: np.ndarray | None, draws: np.ndarray | None
) -> tuple[SparseSignal, np.ndarray]:
    signal = fitted.signal
    assert isinstance(signal, SparseSignal)
    logits = np.asarray(logits, np.float32)
    size = logits.shape[-1]
    if signal.k > size:
        raise LimbeckError(f"k is {signal.k} but must be 1 to the vocabulary's {size}")
    if signal.sample and draws is None:
        raise ValueError("a sample needs draws, see limbeck.labels.draws")
    if signal.needs_true_ids:
        if true_ids is None:
            raise ValueError("the grid form at masked positions needs true_ids")
        outside = (true_ids < 0) | (true_ids >= size)
        if outside.any():
            row = int(np.argmax(outside))
            raise LimbeckError(f"row {row}: true id {true_ids[row]} is outside the {size} ids")
    return signal, logits
