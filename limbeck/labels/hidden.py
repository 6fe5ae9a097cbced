"""Hidden states of one layer as they are stored: one field, `states` (slots, D)."""

# N positions, D hidden width

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.labels.fault import Fault

__all__ = ["encode", "find_fault"]


def encode(states: np.ndarray, *, dtype: str, layer: int) -> np.ndarray:
    """Rounds float32 states to the stored dtype, refusing what does not fit.

    Args:
      states: (N, D) float32.
      dtype: 'float16' or 'float32'.
      layer: where the states come from; for messages only.

    Returns:
      (N, D) of `dtype`.

    Raises:
      LimbeckError: for NaN, an infinity, or a value that overflows `dtype`; names row and layer.
    """
    with np.errstate(over="ignore"):
        stored = np.asarray(states, np.float32).astype(dtype)
    if fault := find_fault(stored, layer=layer):
        raise LimbeckError(f"position {fault.position}: {fault.reason}")
    return stored


def find_fault(stored: np.ndarray, *, layer: int) -> Fault | None:
    """The first of stored states (N, D) that is not finite, if any."""
    bad = ~np.isfinite(stored)
    if not bad.any():
        return None
    row, column = (int(i) for i in np.argwhere(bad)[0])
    overflow = stored.dtype == np.float16 and np.isinf(stored[row, column])
    hint = " (a float16 overflow? float32 holds more)" if overflow else ""
    reason = f"component {column} of layer {layer} is {stored[row, column]} in {stored.dtype}{hint}"
    return Fault(position=row, reason=reason)
