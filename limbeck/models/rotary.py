"""Rotary positions (Su et al., 2021, arXiv 2104.09864, section 3.2), in the layout of Llama.

Components i and i + A/2 of a head form a pair that position t turns by t * theta^(-2i/A).
"""

# B rows, H heads, T tokens, A width of a head (even)

from dataclasses import dataclass

import tensorflow as tf

__all__ = ["Rotation", "rotary", "rotate"]


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The turns of every position."""

    cos: tf.Tensor
    """(T, A) float32; the second half repeats the first."""
    sin: tf.Tensor
    """(T, A) float32; the second half repeats the first."""


def rotary(num_tokens: tf.Tensor | int, head_dim: int, *, theta: float) -> Rotation:
    """The rotation of positions 0 to T - 1; `theta` is the base of the wavelengths."""
    exponents = tf.range(0, head_dim, 2, dtype=tf.float32) / head_dim
    frequencies = 1.0 / tf.pow(tf.constant(theta, tf.float32), exponents)
    angles = tf.cast(tf.range(num_tokens), tf.float32)[:, tf.newaxis] * frequencies
    angles = tf.concat([angles, angles], axis=-1)
    return Rotation(cos=tf.cos(angles), sin=tf.sin(angles))


def rotate(x: tf.Tensor, rotation: Rotation) -> tf.Tensor:
    """Turns every pair of (B, H, T, A); in float32, back to the type of x."""
    wide = tf.cast(x, tf.float32)
    first, second = tf.split(wide, 2, axis=-1)
    turned = wide * rotation.cos + tf.concat([-second, first], axis=-1) * rotation.sin
    return tf.cast(turned, x.dtype)
