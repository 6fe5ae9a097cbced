"""Signals stored as a teacher gives them: queries, keys and values, attention maps, task logits.

Arrays, with N positions:

    qkv        queries (N, Q), keys (N, W), values (N, W), each as a state is stored
               (`limbeck.labels.state_codecs`); int8 has queries_scales (N,) and so on
    attention  probabilities (N, H, T) float16 or float32, over the T tokens of a padded batch; a
               record's own array has T = S, zeros behind
    task       logits (N, C) float32

The manifest of a qkv or attention family has what the teacher says of how it attends: see
`limbeck.labels.side.Side`.
"""

# N positions, H heads, T tokens, C outputs of a task head

from collections.abc import Mapping

import numpy as np

from limbeck.labels import positions, state_codecs
from limbeck.labels.fault import Fault
from limbeck.labels.fitted import Fitted
from limbeck.labels.positions import FlatPositions
from limbeck.labels.side import Side
from limbeck.labels.signals import (
    AttentionSignal,
    LabelDims,
    QkvSignal,
    Signal,
    TaskSignal,
)
from limbeck.labels.state_codecs import Settled
from limbeck.records.layout import Layout

__all__ = [
    "decode",
    "encode",
    "find_fault",
    "fit",
    "from_records",
    "sample_positions",
    "settled_of",
    "to_records",
]

# Entries are off by 2^-11 of themselves in float16, 2^-9 where the teacher computed in bfloat16.
_ROW_SUM_TOLERANCE = 1e-2

Arrays = dict[str, np.ndarray]


def sample_positions(signal: Signal) -> int:
    """0: nothing is left open."""
    return 0


def fit(signal: Signal, raw: Mapping[str, np.ndarray], *, side: Side) -> tuple[Fitted, list[str]]:
    """The signal as it is, and how the teacher attends; see `limbeck.labels.codecs.fit`."""
    return Fitted(signal=signal, chosen=dict(side.facts)), []


def settled_of(signal: Signal) -> Settled:
    """How each array of the signal is stored."""
    assert isinstance(signal, QkvSignal | AttentionSignal | TaskSignal)
    return Settled.of("float32" if isinstance(signal, TaskSignal) else signal.codec, {})


def encode(
    fitted: Fitted,
    raw: Mapping[str, np.ndarray],
    *,
    true_ids: np.ndarray | None = None,
    draws: np.ndarray | None = None,
) -> Arrays:
    """Encodes every array of the source; see `limbeck.labels.codecs.encode`."""
    signal, settled = fitted.signal, settled_of(fitted.signal)
    arrays: Arrays = {}
    for name in signal.source.arrays:
        encoded = state_codecs.encode(raw[name], settled)
        arrays[name] = encoded["states"]
        if "scales" in encoded:
            arrays[f"{name}_scales"] = encoded["scales"]
    return arrays


def decode(fitted: Fitted, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of the source, float32, any leading shape."""
    settled = settled_of(fitted.signal)
    return {
        name: state_codecs.decode(_as_states(arrays, name), settled)
        for name in fitted.signal.source.arrays
    }


def find_fault(
    fitted: Fitted, arrays: Mapping[str, np.ndarray], *, dims: LabelDims
) -> Fault | None:
    """Finds what is not finite, or rows of probabilities that do not add up to 1."""
    signal, settled = fitted.signal, settled_of(fitted.signal)
    for name in signal.source.arrays:
        if found := state_codecs.first_fault(_as_states(arrays, name), settled):
            return Fault(position=found[0], reason=f"{_where(signal, name)} {found[1]}")
    if isinstance(signal, AttentionSignal):
        return _find_wrong_sum(signal, arrays["probabilities"])
    return None


def to_records(
    fitted: Fitted,
    arrays: Mapping[str, np.ndarray],
    counts: np.ndarray,
    *,
    layout: Layout,
    width: int | None = None,
) -> Arrays:
    """See `limbeck.labels.codecs.to_records`."""
    return positions.to_fields(arrays, counts, layout=layout, width=width)


def from_records(fitted: Fitted, fields: Mapping[str, np.ndarray]) -> tuple[Arrays, FlatPositions]:
    """See `limbeck.labels.codecs.from_records`; probabilities stay as wide as the layout."""
    return positions.from_fields(fields)


def _as_states(arrays: Mapping[str, np.ndarray], name: str) -> Arrays:
    part = {"states": arrays[name]}
    if f"{name}_scales" in arrays:
        part["scales"] = arrays[f"{name}_scales"]
    return part


def _where(signal: Signal, name: str) -> str:
    if isinstance(signal, TaskSignal):
        return "the task head's answer"
    return f"{name} of layer {getattr(signal, 'layer', '?')}"


def _find_wrong_sum(signal: AttentionSignal, probabilities: np.ndarray) -> Fault | None:
    sums = probabilities.sum(axis=-1, dtype=np.float32)
    wrong = (np.abs(sums - 1.0) > _ROW_SUM_TOLERANCE) | (probabilities < 0).any(axis=-1)
    if not wrong.any():
        return None
    row, head = (int(i) for i in np.argwhere(wrong)[0])
    return Fault(
        position=row,
        reason=f"probabilities of layer {signal.layer}, head {head} add up to {sums[row, head]:g}",
    )
