"""Products of two layers' states, of the student against the teacher. Additive.

The states stand at the tokens of their rows, with zeros at tokens that do not count: these add
nothing to any product, on either side.
"""

# m rows, T tokens, D and E widths of the two layers

import tensorflow as tf

__all__ = ["fsp_values", "mmd_values"]

Pair = tuple[tf.Tensor, tf.Tensor]


def mmd_values(student: Pair, teacher: Pair) -> tf.Tensor:
    """sum_j (G_S[i, j] - G_T[i, j])^2 at every token i, with G = X Y^T / D over tokens.

    TextBrewer's `mmd` (`nst`), after Neuron Selectivity Transfer (Huang and Wang 2017). Divided by
    the number of pairs (i, j) of real tokens it is the mean squared difference. Each model has its
    own D, so widths may differ.

    Args:
      student: X and Y, each (m, T, D) float32.
      teacher: X and Y, each (m, T, D) float32, with a D of its own.

    Returns:
      (m, T) float32.
    """
    return tf.reduce_sum(tf.square(_token_gram(*student) - _token_gram(*teacher)), axis=-1)


def fsp_values(student: Pair, teacher: Pair, num_tokens: tf.Tensor) -> tf.Tensor:
    """mean_de (G_S[d, e] - G_T[d, e])^2 of every row, with G = X^T Y / n over its n tokens.

    The flow of the solution procedure between two layers (Yim et al. 2017, eq. 1 and 2), over
    tokens instead of pixels, with the mean over the matrix as in TextBrewer's `fsp` (`gram`).

    Args:
      student: X (m, T, D) and Y (m, T, E) float32.
      teacher: X (m, T, D) and Y (m, T, E) float32.
      num_tokens: (m,) float32 n; where it is 0 all states are, and so is the value.

    Returns:
      (m,) float32.
    """
    tokens = tf.maximum(num_tokens, 1.0)[:, None, None]
    difference = (_channel_gram(*student) - _channel_gram(*teacher)) / tokens
    return tf.reduce_mean(tf.square(difference), axis=[1, 2])


def _token_gram(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """(m, T, T)."""
    return tf.matmul(x, y, transpose_b=True) / tf.cast(tf.shape(x)[-1], tf.float32)


def _channel_gram(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """(m, D, E)."""
    return tf.matmul(x, y, transpose_a=True)
