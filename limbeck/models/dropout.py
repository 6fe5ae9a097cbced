"""Row-keyed dropout: a mask bit is a hash of what it belongs to, and of nothing else.

The bit of an element depends only on (seed, step, layer, key of the row, index of the element in
the row). It does not depend on the row's place in the batch, the other rows, the padded length,
the micro-batch or the rank, so any slicing of a global batch trains with the same masks. (Stock
dropout draws one mask for the whole tensor and cannot do this.)
"""

# B rows, T tokens, D width, H attention heads, Q queries, K attended tokens

from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from limbeck.models import hashing
from limbeck.models.basic import Layer
from limbeck.models.shapes import sizes

__all__ = ["DropoutKeys", "KeyedDropout"]


@dataclass(frozen=True, kw_only=True)
class DropoutKeys:
    """What the masks of one training step are drawn from."""

    seed: tf.Tensor | int
    """Integer scalar: the run's."""
    step: tf.Tensor | int
    """Integer scalar: the optimiser step, the same in every micro-batch of it."""
    row_keys: tf.Tensor
    """(B, 4) int32 or uint32: the 16 bytes of each row's record key."""
    first_id: int = 0
    """Added to every layer id: tells the applications of a shared layer apart."""

    def shifted(self, by: int) -> "DropoutKeys":
        """The same keys for another application of the same layers."""
        return replace(self, first_id=self.first_id + by)

    def row_states(self, layer_id: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Two (B,) uint32 hashes of everything but the element.

        What does not depend on the layer is absorbed first: TensorFlow's graph optimiser then
        computes it once for all layers.
        """
        keys = tf.bitcast(self.row_keys, tf.uint32)
        state = hashing.absorb(
            hashing.start(), [*hashing.words(self.seed), *hashing.words(self.step)]
        )
        state = hashing.absorb(state, [keys[:, column] for column in range(4)])
        return hashing.absorb(state, [tf.constant(layer_id + self.first_id, tf.uint32)])


class KeyedDropout(Layer):
    """Dropout whose mask is a function of `DropoutKeys`; no variables, no state.

    Kept elements are scaled by 1 / (1 - rate). Without keys, or at rate 0, the input is returned.

    Args:
      rate: probability that an element is dropped, in [0, 1).
      layer_id: tells the dropouts of a model apart; 0 to 2^32 - 1.
    """

    def __init__(self, rate: float, *, layer_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"dropout rate must be in [0, 1), got {rate!r}")
        self.rate = rate
        self.layer_id = layer_id
        self.built = True

    def call(self, x: tf.Tensor, keys: DropoutKeys | None = None) -> tf.Tensor:
        """Drops elements of x.

        Args:
          x: (B, T, D), or attention probabilities (B, H, Q, K).
          keys: of the same B rows; None leaves x alone.

        Returns:
          A tensor like x.
        """
        if keys is None or self.rate == 0.0:
            return x
        kept = keep_mask(x, keys, rate=self.rate, layer_id=self.layer_id)
        return x * tf.where(kept, tf.cast(1.0 / (1.0 - self.rate), x.dtype), tf.zeros((), x.dtype))


def keep_mask(x: tf.Tensor, keys: DropoutKeys, *, rate: float, layer_id: int) -> tf.Tensor:
    """True where an element of x stays; see KeyedDropout."""
    # One number a row, to meet the elements of the row.
    row_shape = [sizes(x)[0], *[1] * (x.shape.rank - 1)]
    offset, multiplier = (tf.reshape(lane, row_shape) for lane in keys.row_states(layer_id))
    multiplier = tf.bitwise.bitwise_or(multiplier, _uint32(1))  # odd: a bijection
    # From here on the cost is per element: xor-shift and multiply, twice; the high bits decide.
    bits = tf.bitwise.bitwise_xor(offset, element_codes(x)[tf.newaxis])
    bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _uint32(16)))
    bits = bits * multiplier
    bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _uint32(15)))
    bits = bits * _uint32(0x846CA68B)
    return bits >= _uint32(min(round(rate * 2**32), 2**32 - 1))


def element_codes(x: tf.Tensor) -> tf.Tensor:
    """A uint32 for every element of a row of x: distinct inside the row, whatever the padding.

    Args:
      x: (B, T, D) or (B, H, Q, K).

    Returns:
      (T, D): a function of (token, component); or (H, Q, K): of (head, query, key).
    """
    widths = {3: (16, 16), 4: (8, 12, 12)}.get(x.shape.rank)  # bits of each index, 32 in all
    if widths is None:
        raise ValueError(f"keyed dropout takes (B, T, D) or (B, H, Q, K), got shape {x.shape}")
    code = tf.zeros((), tf.uint32)
    for axis, (size, width) in enumerate(zip(sizes(x)[1:], widths, strict=True), start=1):
        if isinstance(size, int) and size > 1 << width:
            raise ValueError(f"keyed dropout: axis {axis} of {x.shape} is longer than {1 << width}")
        code = tf.bitwise.left_shift(code, _uint32(width))[..., tf.newaxis]
        code = tf.bitwise.bitwise_or(code, tf.cast(tf.range(size), tf.uint32))
    return hashing.mix(code)


def _uint32(number: int) -> tf.Tensor:
    return tf.constant(number, tf.uint32)
