"""The NumPy codecs of `limbeck.labels` for teachers whose answers are whole on the host."""

# M flat positions, V vocabulary

from collections.abc import Mapping

import numpy as np

from limbeck.labels import codecs
from limbeck.labels.fitted import Fitted

__all__ = ["encode"]

ROWS_AT_A_TIME = 64  # the codec of logits works in float64: several times V * 8 bytes a row


def encode(
    fitted: Fitted,
    raw: Mapping[str, np.ndarray],
    *,
    true_ids: np.ndarray,
    draws: np.ndarray,
) -> dict[str, np.ndarray]:
    """`limbeck.labels.codecs.encode` of any number of positions, in little memory; ids int32."""
    count = len(true_ids)
    parts = []
    for start in range(0, max(1, count), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        taken = {name: values[part] for name, values in raw.items()}
        parts.append(codecs.encode(fitted, taken, true_ids=true_ids[part], draws=draws[part]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
