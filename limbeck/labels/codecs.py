"""Encoding and decoding of every signal at flat positions; the NumPy reference of all backends.

A codec sees M flat positions: those of a batch's records, record by record. What varies by signal
is dispatched by its kind to a module of functions of these names; `limbeck.labels.device.encode`
and `limbeck.teachers.torch_codecs` are the twins of `encode` on accelerators.

Nothing raises for a broken answer while encoding: a logit or state that is not finite, or that its
dtype cannot hold, becomes a mark that `find_fault` finds on the host, where the caller knows the
record.
"""

# M flat positions, n records

from collections.abc import Mapping
from typing import Any

import numpy as np

from limbeck.labels import final, inside, relations, sparse, states
from limbeck.labels.fault import Fault
from limbeck.labels.fitted import Fitted
from limbeck.labels.positions import FlatPositions
from limbeck.labels.side import Side
from limbeck.labels.signals import LabelDims, Signal
from limbeck.records.layout import Layout

__all__ = [
    "Arrays",
    "decode",
    "encode",
    "find_fault",
    "fit",
    "from_records",
    "sample_positions",
    "to_records",
]

Arrays = dict[str, np.ndarray]

_MODULES: Mapping[str, Any] = {
    "sparse": sparse,
    "final": final,
    "hidden": states,
    "relations": relations,
    "qkv": inside,
    "attention": inside,
    "task": inside,
}


def sample_positions(signal: Signal) -> int:
    """How many positions of the examples, the first ones, `fit` wants to see; 0: none."""
    number: int = _MODULES[signal.kind].sample_positions(signal)
    return number


def fit(signal: Signal, raw: Mapping[str, np.ndarray], *, side: Side) -> tuple[Fitted, list[str]]:
    """Settles what a family's codec leaves open; a pure function of its arguments.

    Args:
      signal: as declared.
      raw: what its source gives, (M, ...) float32, at the first `sample_positions(signal)`
        positions of the examples (fewer where there are no more); may be empty where that is 0.
      side: what the teacher gives for it beside its answers.

    Returns:
      What encoding needs, and lines for the job's report: errors measured, codecs refused.

    Raises:
      LimbeckError: the teacher's answers are not finite, or a codec that was asked for by name
        misses its goal where nothing else may be taken.
    """
    found: tuple[Fitted, list[str]] = _MODULES[signal.kind].fit(signal, raw, side=side)
    return found


def encode(
    fitted: Fitted,
    raw: Mapping[str, np.ndarray],
    *,
    true_ids: np.ndarray | None,
    draws: np.ndarray | None,
) -> Arrays:
    """Encodes M positions.

    Args:
      fitted: of `fit`.
      raw: what the signal's source gives, (M, ...) float32.
      true_ids: (M,) int32 true ids, 0 where unknown; None for signals that need none.
      draws: (M, 2) int32 words of `limbeck.labels.draws`; None for signals that need none.

    Returns:
      The arrays of the signal's layout at M positions, (M, ...).
    """
    module = _MODULES[fitted.signal.kind]
    arrays: Arrays = module.encode(fitted, raw, true_ids=true_ids, draws=draws)
    return arrays


def find_fault(
    fitted: Fitted, arrays: Mapping[str, np.ndarray], *, dims: LabelDims
) -> Fault | None:
    """The first of M encoded positions that no sound teacher gives, if any."""
    fault: Fault | None = _MODULES[fitted.signal.kind].find_fault(fitted, arrays, dims=dims)
    return fault


def to_records(
    fitted: Fitted,
    arrays: Mapping[str, np.ndarray],
    counts: np.ndarray,
    *,
    layout: Layout,
    width: int | None = None,
) -> Arrays:
    """Puts flat encoded positions into the fields of n records.

    Args:
      fitted: of `fit`.
      arrays: (M, ...), record by record.
      counts: (n,) positions of each record; they add up to M.
      layout: of the family.
      width: slots a record in the result; None for the layout's.

    Returns:
      `num_positions` (n,) uint16 and the signal's fields, (n, slots, ...), in the layout's dtypes,
      zero behind a record's last position; `bytes` fields as (n,) objects. `key` and `digest` are
      the caller's.
    """
    module = _MODULES[fitted.signal.kind]
    fields: Arrays = module.to_records(fitted, arrays, counts, layout=layout, width=width)
    return fields


def from_records(fitted: Fitted, fields: Mapping[str, np.ndarray]) -> tuple[Arrays, FlatPositions]:
    """The inverse of `to_records`: arrays (M, ...), and where each position is."""
    found: tuple[Arrays, FlatPositions] = _MODULES[fitted.signal.kind].from_records(fitted, fields)
    return found


def decode(fitted: Fitted, arrays: Mapping[str, np.ndarray]) -> Any:
    """What was encoded, as far as it was kept.

    Returns:
      The arrays of the signal's source by name, float32; for sparse signals the value of
      `limbeck.labels.sparse`.
    """
    return _MODULES[fitted.signal.kind].decode(fitted, arrays)
