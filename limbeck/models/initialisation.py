"""Start values that are a function of (seed, name of the variable) alone."""

import hashlib
import math
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

__all__ = ["initialise", "start_value"]

_CUT = 2.0  # in standard deviations, as in BERT


def initialise(variables: Mapping[str, keras.Variable], *, seed: int, deviation: float) -> None:
    """Assigns every variable its start value."""
    for name, variable in variables.items():
        shape = tuple(variable.shape)
        variable.assign(start_value(name, shape, seed=seed, deviation=deviation))


def start_value(name: str, shape: tuple[int, ...], *, seed: int, deviation: float) -> np.ndarray:
    """The float32 start value of a variable: matrices random, gamma 1, vectors 0.

    Args:
      name: as in `limbeck.models.masked_lm.named_variables`.
      shape: of the variable.
      seed: any integer.
      deviation: of the normal distribution that matrices are drawn from, before it is cut at two
        deviations.
    """
    if name.endswith("/gamma"):
        return np.ones(shape, np.float32)
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    uniform = _uniform(f"limbeck start value|{seed}|{name}", math.prod(shape))
    # Inverse of the cut distribution: a share of the range between the cuts -> a deviate.
    low = 0.5 * math.erfc(_CUT / math.sqrt(2.0))
    normal = tf.math.ndtri(low + (1.0 - 2.0 * low) * uniform).numpy()
    return (deviation * normal).astype(np.float32).reshape(shape)


def _uniform(text: str, size: int) -> np.ndarray:
    """(size,) float64 in (0, 1) from the text; the raw stream of Philox never changes."""
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    bits = np.random.Philox(key=key).random_raw(size)
    return ((bits >> np.uint64(11)) + 0.5) / 2.0**53
