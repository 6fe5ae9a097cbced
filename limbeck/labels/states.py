"""Stored states of a layer: the family `hidden`, and what `final` and `relations` share with it.

`limbeck.labels.state_codecs` says what the arrays are. With a basis (`limbeck.labels.basis`) what
is stored of a state are its components in it; codec and outlier channels are those components'.
"""

# M positions, D width of a state, R components of a basis

from collections.abc import Mapping

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.labels import basis, positions, state_codecs
from limbeck.labels.fault import Fault
from limbeck.labels.fitted import Fitted
from limbeck.labels.positions import FlatPositions
from limbeck.labels.side import Side
from limbeck.labels.signals import (
    FinalSignal,
    HiddenSignal,
    LabelDims,
    RelationsSignal,
    Signal,
)
from limbeck.labels.state_codecs import Settled
from limbeck.labels.state_gates import choose, finite_rows, state_error
from limbeck.records.layout import Layout

__all__ = [
    "SAMPLE_POSITIONS",
    "chosen",
    "decode",
    "encode",
    "find_fault",
    "fit",
    "fit_codec",
    "from_records",
    "sample_positions",
    "settled_of",
    "to_records",
]

SAMPLE_POSITIONS = 4096
"""Positions on which a codec is tried, the first ones of the examples."""
BASIS_POSITIONS = 16384
"""Positions from which a basis is fitted: 21 a channel at width 768."""

Arrays = dict[str, np.ndarray]


def sample_positions(signal: Signal) -> int:
    """Positions that `fit` wants to see; none for a codec that leaves nothing open."""
    if getattr(signal, "basis", None):
        return BASIS_POSITIONS
    return SAMPLE_POSITIONS if _codec(signal) in ("auto", "int8") else 0


def fit(signal: Signal, raw: Mapping[str, np.ndarray], *, side: Side) -> tuple[Fitted, list[str]]:
    """Fits the basis and settles the codec; see `limbeck.labels.codecs.fit`."""
    if not sample_positions(signal):
        return Fitted(signal=signal), []
    tensors, lines = {}, []
    sample = finite_rows(raw["states"])
    wanted = getattr(signal, "basis", None)
    if wanted:
        tensors = basis.fit(sample, num_components=wanted)
        lines.append(basis.describe(sample, tensors))
        sample = basis.project(sample, tensors)
    settled, refused, tried = fit_codec(signal, sample)
    said = chosen(signal, settled, refused)
    return Fitted(signal=signal, chosen=said, tensors=tensors), [*lines, *tried]


def fit_codec(signal: Signal, sample: np.ndarray) -> tuple[Settled, list[str], list[str]]:
    """The first codec that keeps (N, D) states well enough; those refused; lines of report."""
    if (codec := _codec(signal)) not in ("auto", "int8"):
        return Settled.of(codec, {}), [], []
    return choose(sample[:SAMPLE_POSITIONS], codec, judge=state_error)


def settled_of(fitted: Fitted) -> Settled:
    """How the family stores its states."""
    return Settled.of(_codec(fitted.signal), fitted.chosen)


def encode(
    fitted: Fitted,
    raw: Mapping[str, np.ndarray],
    *,
    true_ids: np.ndarray | None = None,
    draws: np.ndarray | None = None,
) -> Arrays:
    """Encodes `states` (M, D); see `limbeck.labels.codecs.encode`."""
    states = np.asarray(raw["states"], np.float32)
    if "basis" in fitted.tensors:
        with np.errstate(over="ignore", invalid="ignore"):
            states = basis.project(states, fitted.tensors)
    return state_codecs.encode(states, settled_of(fitted))


def decode(fitted: Fitted, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """`states` (..., D) float32 from arrays of any leading shape."""
    states = state_codecs.decode(arrays, settled_of(fitted))
    if "basis" in fitted.tensors:
        states = basis.rebuild(states, fitted.tensors)
    return {"states": states}


def find_fault(
    fitted: Fitted, arrays: Mapping[str, np.ndarray], *, dims: LabelDims
) -> Fault | None:
    """The first state that is not finite, or that its codec could not hold."""
    found = state_codecs.first_fault(arrays, settled_of(fitted))
    if found is None:
        return None
    return Fault(position=found[0], reason=f"{_where(fitted.signal)} {found[1]}")


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
    """See `limbeck.labels.codecs.from_records`."""
    return positions.from_fields(fields)


def chosen(signal: Signal, settled: Settled, refused: list[str]) -> dict[str, object]:
    """What the manifest says of a codec: nothing where the declaration says all."""
    plain: dict[str, object] = {}
    if settled.name != _codec(signal):
        plain["codec"] = settled.codec
    if settled.outliers:
        plain["outliers"] = list(settled.outliers)
    if before := [name for name in refused if name != settled.name]:
        plain["refused"] = before
    return plain


def _codec(signal: Signal) -> str:
    if not isinstance(signal, HiddenSignal | FinalSignal | RelationsSignal):
        raise LimbeckError(f"signal {signal.kind} holds no states")
    return signal.codec


def _where(signal: Signal) -> str:
    match signal:
        case HiddenSignal():
            return f"the state of layer {signal.layer}"
        case RelationsSignal():
            return f"the input of layer {signal.layer}'s projections"
    return "the final state"
