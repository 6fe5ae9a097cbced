"""TensorFlow twin of `limbeck.labels.codecs.encode`: only what is stored leaves the accelerator."""

# M flat positions

from collections.abc import Mapping

import tensorflow as tf

from limbeck.labels.device import sparse
from limbeck.labels.device.states import encode_states, encode_vectors
from limbeck.labels.fitted import Fitted
from limbeck.labels.inside import settled_of

__all__ = ["encode"]


def encode(
    fitted: Fitted,
    raw: Mapping[str, tf.Tensor],
    *,
    true_ids: tf.Tensor | None,
    draws: tf.Tensor | None,
) -> dict[str, tf.Tensor]:
    """Encodes M positions; traceable, with a static last dimension.

    Args:
      fitted: of `limbeck.labels.codecs.fit`.
      raw: what the signal's source gives, (M, ...) float32.
      true_ids: (M,) int32; None for signals that need none.
      draws: (M, 2) int32; None for signals that need none.

    Returns:
      The arrays of the signal's layout at M positions, (M, ...); ids as int32.
    """
    signal = fitted.signal
    match signal.kind:
        case "sparse":
            arrays: dict[str, tf.Tensor] = sparse.encode(
                fitted, raw, true_ids=true_ids, draws=draws
            )
            return arrays
        case "hidden" | "final" | "relations":
            return encode_states(fitted, raw["states"])
    arrays, settled = {}, settled_of(signal)
    for name in signal.source.arrays:
        encoded = encode_vectors(raw[name], settled)
        arrays[name] = encoded["states"]
        if "scales" in encoded:
            arrays[f"{name}_scales"] = encoded["scales"]
    return arrays
