"""The NumPy codecs of `limbeck.labels` for teachers: what is broken is marked, not raised.

The caller of a teacher knows family and record of a broken answer and names them; see
`limbeck.labels.sparse.find_fault` and `limbeck.labels.hidden.find_fault`.
"""

# M positions, V vocabulary, D hidden width

import numpy as np

from limbeck.labels import SparseSignal, sparse

__all__ = ["encode_sparse", "encode_states"]

ROWS_AT_A_TIME = 64  # the codec works in float64: three times V * 8 bytes a row


def encode_sparse(
    logits: np.ndarray, true_ids: np.ndarray, *, signal: SparseSignal
) -> dict[str, np.ndarray]:
    """`limbeck.labels.sparse.encode`, with a NaN `zmax` where a logit is not finite; ids int32.

    Args:
      logits: (M, V) float32.
      true_ids: (M,) the ids that were masked.
      signal: what to keep.
    """
    finite = np.isfinite(logits).all(axis=-1)
    parts = []
    for start in range(0, len(logits), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        sound = np.where(finite[part, None], logits[part], np.float32(0.0))
        parts.append(
            sparse.encode(sound, true_ids[part], k=signal.k, temperatures=signal.temperatures)
        )
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    arrays["ids"] = arrays["ids"].astype(np.int32)
    arrays["zmax"] = np.where(finite, arrays["zmax"], np.float32("nan"))
    return arrays


def encode_states(states: np.ndarray, *, dtype: str) -> np.ndarray:
    """Rounds float32 states to the stored dtype; what overflows becomes infinite."""
    with np.errstate(over="ignore"):
        return states.astype(np.float32, copy=False).astype(dtype)
