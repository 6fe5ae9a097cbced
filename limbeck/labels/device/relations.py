"""TensorFlow twin of `limbeck.labels.relations`: relations and maps from a layer's stored input.

The functions on queries, keys and values serve teacher and student alike; gradients flow through
them.
"""

# B records, T tokens, D width of a state, W width of a projection, A relation heads, H heads

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from limbeck.labels.relations import (
    NEVER,
    Heads,
    Projections,
    RelationKind,
    check_split,
)

__all__ = [
    "attention_maps",
    "attention_scores",
    "project",
    "relation",
    "relation_scores",
    "sides",
    "visible",
]


def project(inputs: tf.Tensor, tensors: Mapping[str, np.ndarray]) -> Projections:
    """(B, T, D) decoded states -> the layer's queries, keys and values, float32."""
    found = {}
    for name in ("query", "key", "value"):
        found[name] = tf.tensordot(inputs, tf.constant(tensors[f"{name}/kernel"]), axes=1)
        if f"{name}/bias" in tensors:
            found[name] += tf.constant(tensors[f"{name}/bias"])
    return Projections(queries=found["query"], keys=found["key"], values=found["value"])


def sides(
    projections: Projections, kind: RelationKind, heads: Heads
) -> tuple[tf.Tensor, tf.Tensor]:
    """Both sides of a relation; keys that heads share are repeated for Q-K only."""
    named = {"q": projections.queries, "k": projections.keys, "v": projections.values}
    left, right = named[kind[0]], named[kind[1]]
    if kind == "qk" and heads.num_kv_heads != heads.num_heads:
        batch, tokens = tf.unstack(tf.shape(right)[:2])
        right = tf.reshape(right, [batch, tokens, heads.num_kv_heads, heads.head_dim])
        right = tf.repeat(right, heads.num_heads // heads.num_kv_heads, axis=2)
        right = tf.reshape(right, [batch, tokens, left.shape[-1]])
    return left, right


def relation(
    left: tf.Tensor,
    right: tf.Tensor,
    *,
    num_heads: int,
    attention_mask: tf.Tensor,
    causal: bool = False,
) -> tf.Tensor:
    """softmax(X Y' / sqrt(d_r)) over the real tokens; see `limbeck.labels.relations.relation`."""
    scores = relation_scores(left, right, num_heads=num_heads)
    return _softmax(scores, visible(attention_mask, causal=causal))


def relation_scores(left: tf.Tensor, right: tf.Tensor, *, num_heads: int) -> tf.Tensor:
    """X Y' / sqrt(d_r), before masks and softmax: (B, T, W) twice -> (B, A, T, T)."""
    check_split(left.shape[-1], num_heads)
    return _products(_split(left, num_heads), _split(right, num_heads))


def attention_maps(
    projections: Projections, heads: Heads, *, attention_mask: tf.Tensor
) -> tf.Tensor:
    """The layer's own attention probabilities, (B, H, T, T) float32; `attention_mask` (B, T)."""
    scores = attention_scores(projections, heads)
    return _softmax(scores, visible(attention_mask, causal=heads.causal))


def attention_scores(projections: Projections, heads: Heads) -> tf.Tensor:
    """The layer's own scaled scores, (B, H, T, T): before masks and softmax, rotated if it does."""
    queries, keys = sides(projections, "qk", heads)
    first, second = _split(queries, heads.num_heads), _split(keys, heads.num_heads)
    if heads.theta is not None:
        first, second = _rotate(first, heads.theta), _rotate(second, heads.theta)
    return _products(first, second)


def visible(attention_mask: tf.Tensor, *, causal: bool) -> tf.Tensor:
    """(B, T) mask -> (B, 1, 1 or T, T) bool: which keys (last) a query sees."""
    seen = tf.equal(attention_mask[:, None, None, :], 1)
    if not causal:
        return seen
    places = tf.range(tf.shape(attention_mask)[1])
    return tf.logical_and(seen, places[:, None] >= places)


def _split(x: tf.Tensor, num_heads: int) -> tf.Tensor:
    """(B, T, W) -> (B, A, T, W / A)."""
    batch, tokens = tf.unstack(tf.shape(x)[:2])
    heads = tf.reshape(x, [batch, tokens, num_heads, x.shape[-1] // num_heads])
    return tf.transpose(heads, (0, 2, 1, 3))


def _products(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.matmul(left, right, transpose_b=True) * (1.0 / math.sqrt(left.shape[-1]))


def _softmax(scores: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.where(seen, scores, NEVER), axis=-1)


def _rotate(x: tf.Tensor, theta: float) -> tf.Tensor:
    """Turns components i and i + A/2 of (B, H, T, A) by t theta^(-2i/A), as Llama does."""
    head_dim = x.shape[-1]
    frequencies = tf.constant(theta ** -(np.arange(0, head_dim, 2) / head_dim), tf.float64)
    angles = tf.cast(tf.range(tf.shape(x)[2]), tf.float64)[:, None] * frequencies
    angles = tf.concat([angles, angles], axis=-1)
    first, second = tf.split(x, 2, axis=-1)
    cos, sin = tf.cast(tf.cos(angles), x.dtype), tf.cast(tf.sin(angles), x.dtype)
    return x * cos + tf.concat([-second, first], axis=-1) * sin
