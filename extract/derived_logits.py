"""States of a final family -> encoded sparse labels, on the accelerator, in one static shape."""

# C positions at a time, M positions, D width of a state, V vocabulary

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from limbeck.labels.device.encode import encode
from limbeck.labels.fitted import Fitted

__all__ = ["SparseEncoder", "configure"]


class SparseEncoder:
    """Encodes M positions, C at a time, so that a position's bits depend on its window alone.

    Args:
      fitted: of the derived family.
      tensors: `decoder/kernel` (V, D) and `decoder/bias` (V,).
      num_positions: C.
    """

    def __init__(
        self, fitted: Fitted, tensors: Mapping[str, np.ndarray], *, num_positions: int
    ) -> None:
        self._num_positions = num_positions
        kernel = tf.constant(tensors["decoder/kernel"])
        bias = tf.constant(tensors["decoder/bias"])

        @tf.function(autograph=False)
        def run(states: Any, true_ids: Any, draws: Any) -> Any:
            logits = tf.matmul(states, kernel, transpose_b=True) + bias
            return encode(fitted, {"logits": logits}, true_ids=true_ids, draws=draws)

        self._run = run

    def __call__(
        self, states: np.ndarray, true_ids: np.ndarray, draws: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Encodes (M, D) float32 states with (M,) int32 true ids and (M, 2) int32 words."""
        parts = []
        for start in range(0, max(1, len(states)), self._num_positions):
            part = slice(start, start + self._num_positions)
            size = len(states[part])
            answers = self._run(
                self._padded(states[part]),
                self._padded(true_ids[part]),
                None if draws is None else self._padded(draws[part]),
            )
            parts.append({name: values.numpy()[:size] for name, values in answers.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _padded(self, values: np.ndarray) -> tf.Tensor:
        padded = np.zeros((self._num_positions, *values.shape[1:]), values.dtype)
        padded[: len(values)] = values
        return tf.constant(padded)


def configure(threads: int) -> None:
    """Sets determinism and, where TensorFlow still lets us, threads.

    Raises:
      UsageError: threads are asked for and TensorFlow is running already.
    """
    tf.config.experimental.enable_op_determinism()
    if not threads or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise UsageError(
            f"threads is {threads}, but TensorFlow is running already in this process; set "
            "threads to 0, or derive in a process of its own"
        ) from error
