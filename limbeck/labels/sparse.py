"""Sparse logits: the head of a teacher's distribution, and what is known of everything outside it.

At each position the head is kept: the k largest logits, ties by id ascending, and with a threshold
also every id of at least that probability. Of the others either the exact mass is kept, at every
temperature of a grid, or a sample, or both. Arrays, with N positions, K kept ids, E entries at
most (`SparseSignal.max_entries`) and G temperatures:

    top k                     grid  lean
      zmax        (N,)    float32    x        largest logit
      ids         (N, K)  uint16/32  x    x   by logit descending
      logits      (N, K)  float16    x    x   z - zmax, so the first is 0 and none is above it
      log_tail    (N, G)  float32    x    x   log of the mass outside the head
      true_logit  (N,)    float32    x        at masked positions; metadata, never of the head

    with a threshold          grid  lean  lean with a sample
      zmax, true_logit, log_tail as above     x: only the log_tail of lean without a sample
      ids         (N, E)  uint16/32  x    x    x    the head, then the sample, each by id; then 0
      logits      (N, E)  float16    x    x         z - zmax
      codes       (N, E)  uint16               x    of the head: p = (code / 1023)^2; else 0
      num_head    (N,)    uint16     x    x    x
      num_sampled (N,)    uint16     x         x    signals with a sample only

On disk the second kind is packed (`limbeck.labels.sparse_packing`): a prior over ids is fitted on
the first positions, and an id costs 8 to 10 bits instead of 16.

log_tail is exact, see `limbeck.labels.sparse_math`; it is never 1 - sum(head), which rounding
drowns. With k = V there is no complement and it is -inf.

Which ids have a threshold's probability, and which are drawn, is a matter of integers
(`limbeck.labels.sparse_pick`). A sample makes an unbiased target: `sampled_target`.

A position with a logit that is not finite is marked, not refused: `zmax` NaN, `log_tail` NaN or
`num_head` 0, whatever the form has; `find_fault` finds it.

Rule for fp16: a relative logit below -65504 is stored as -65504. At any temperature a signal
accepts (up to 500), both have probability exactly 0 in float32, so no target changes.
"""

# N positions, V vocabulary, K kept ids, E entries at most, G temperatures in the grid

from collections.abc import Mapping, Sequence

import numpy as np

from limbeck.labels.fitted import Fitted
from limbeck.labels.positions import FlatPositions, from_fields, to_fields
from limbeck.labels.side import Side
from limbeck.labels.signals import Signal
from limbeck.labels.signals.sparse import SparseSignal
from limbeck.labels.sparse_cells import fit_prior
from limbeck.labels.sparse_encoding import ROWS_AT_A_TIME, encode
from limbeck.labels.sparse_faults import find_fault
from limbeck.labels.sparse_math import LOWEST_FP16, log1mexp
from limbeck.labels.sparse_packing import pack, unpack
from limbeck.labels.sparse_targets import (
    Sparse,
    decode,
    head_logits,
    sampled_target,
    sampled_targets,
    target,
    temperature_column,
)
from limbeck.records.layout import Layout

__all__ = [
    "LOWEST_FP16",
    "Sparse",
    "decode",
    "encode",
    "find_fault",
    "fit",
    "from_records",
    "head_logits",
    "log1mexp",
    "sample_positions",
    "sampled_target",
    "sampled_targets",
    "target",
    "temperature_column",
    "to_records",
]

SAMPLE_POSITIONS = 1024  # of the prior; 256 to 3,072 give sizes within 0.5 % (demo teacher)
_NO_SIDE = Side()


def sample_positions(signal: Signal) -> int:
    """Positions that `fit` wants: some for a threshold's prior, none for top k."""
    return SAMPLE_POSITIONS if isinstance(signal, SparseSignal) and signal.is_ragged else 0


def fit(
    signal: SparseSignal, raw: Mapping[str, np.ndarray], *, side: Side = _NO_SIDE
) -> tuple[Fitted, list[str]]:
    """Takes a prior over ids from the first positions, where ids are packed by one."""
    if not signal.is_ragged:
        return Fitted(signal=signal), []
    assert signal.threshold is not None
    logits = raw["logits"][:SAMPLE_POSITIONS]
    logits = logits[np.isfinite(logits).all(axis=-1)]
    mass = np.zeros(logits.shape[-1])
    for start in range(0, len(logits), ROWS_AT_A_TIME):
        probs = _mean_probs(logits[start : start + ROWS_AT_A_TIME], signal.temperatures)
        mass += np.minimum(probs, signal.threshold).sum(axis=0)
    line = f"prior over {logits.shape[-1]:,} ids from {len(logits):,} positions"
    return Fitted(signal=signal, tensors={"prior": fit_prior(mass)}), [line]


def to_records(
    fitted: Fitted,
    arrays: Mapping[str, np.ndarray],
    counts: np.ndarray,
    *,
    layout: Layout,
    width: int | None = None,
) -> dict[str, np.ndarray]:
    """Flat encoded arrays as the fields of records; see `limbeck.labels.codecs`."""
    if not _of(fitted).is_ragged:
        return to_fields(arrays, counts, layout=layout, width=width)
    counts = np.asarray(counts, np.int64)
    return {
        "num_positions": counts.astype(np.uint16),
        "payload": pack(fitted, arrays, counts),
    }


def from_records(
    fitted: Fitted, fields: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], FlatPositions]:
    """The inverse of `to_records`; see `limbeck.labels.codecs`."""
    if not _of(fitted).is_ragged:
        return from_fields(fields)
    return unpack(fitted, fields["payload"], fields["num_positions"])


def _mean_probs(logits: np.ndarray, temperatures: Sequence[float]) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    mean = np.zeros_like(wide)
    for temperature in temperatures:
        exponentials = np.exp(wide / temperature)
        mean += exponentials / exponentials.sum(axis=-1, keepdims=True) / len(temperatures)
    return mean


def _of(fitted: Fitted) -> SparseSignal:
    assert isinstance(fitted.signal, SparseSignal)
    return fitted.signal
