"""Self-attention relations and attention maps of a layer, rebuilt from its stored input.

Stored per position: what the layer's Q, K and V projections multiply. Stored once, beside the
family: `{query,key,value}/kernel` (D, width) and `/bias` (width,) where there is one, in float32;
in the manifest the facts `num_heads`, `num_kv_heads`, `head_dim`, `mask` and `rotary`.

Relations are those of MiniLMv2 (Wang et al., 2021, arXiv 2012.15828, section 3.1): with a width
split into A relation heads of d_r = width / A components, whatever the attention heads are,

    R_a = softmax(X_a Y_a' / sqrt(d_r))         X, Y of Q, K, V, before any rotation

Attention maps are those of the layer itself: its own heads, rotated where it rotates.
"""

# B records, T tokens, D width of a state, W width of a projection, A relation heads, H heads

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import states
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import RelationsSignal, Signal
from limbeck.labels.states import (
    decode,
    encode,
    find_fault,
    from_records,
    sample_positions,
    to_records,
)

__all__ = [
    "RELATIONS",
    "Heads",
    "Projections",
    "RelationKind",
    "attention_maps",
    "decode",
    "encode",
    "find_fault",
    "fit",
    "from_records",
    "heads_of",
    "project",
    "relation",
    "sample_positions",
    "sides",
    "to_records",
]

RelationKind = Literal["qq", "kk", "vv", "qk"]
RELATIONS: tuple[RelationKind, ...] = ("qq", "kk", "vv", "qk")
"""Queries with queries, and so on; qk is the attention before MiniLMv2's re-splitting."""

# Added to the score of a key that must not be seen, as in `limbeck.models.attention`.
NEVER = -1e9

_FACTS = ("num_heads", "num_kv_heads", "head_dim", "mask", "rotary")


@dataclass(frozen=True, kw_only=True)
class Heads:
    """How a layer attends."""

    num_heads: int
    """H: heads of queries."""
    num_kv_heads: int
    """Heads of keys and values, each shared by H / num_kv_heads heads of queries."""
    head_dim: int
    """Components of a head."""
    causal: bool
    """Whether a token sees only itself and what is before it."""
    theta: float | None
    """Base of the rotary wavelengths; None where positions are not rotary."""


@dataclass(frozen=True, kw_only=True)
class Projections:
    """A layer's queries, keys and values, heads side by side, before any rotation."""

    queries: Any
    """(B, T, W)."""
    keys: Any
    """(B, T, W), or narrower where heads share keys."""
    values: Any
    """(B, T, W), as wide as the keys."""


def fit(signal: Signal, raw: Mapping[str, np.ndarray], *, side: Side) -> tuple[Fitted, list[str]]:
    """Settles the codec and keeps the projections; see `limbeck.labels.codecs.fit`."""
    assert isinstance(signal, RelationsSignal)
    facts = {name: side.facts[name] for name in _FACTS}
    tensors = {name: np.asarray(values, np.float32) for name, values in side.tensors.items()}
    if missing := [n for n in ("query", "key", "value") if f"{n}/kernel" not in tensors]:
        raise LimbeckError(f"layer {signal.layer} of the teacher has no {missing[0]} projection")
    fitted, lines = states.fit(signal, raw, side=side)
    return Fitted(signal=signal, chosen={**fitted.chosen, **facts}, tensors=tensors), lines


def heads_of(fitted: Fitted) -> Heads:
    """How the layer attends, from the facts in the manifest."""
    facts = fitted.chosen
    rotary = facts["rotary"]
    return Heads(
        num_heads=int(facts["num_heads"]),
        num_kv_heads=int(facts["num_kv_heads"]),
        head_dim=int(facts["head_dim"]),
        causal=facts["mask"] == "causal",
        theta=None if rotary is None else float(rotary["theta"]),
    )


def project(inputs: np.ndarray, tensors: Mapping[str, np.ndarray]) -> Projections:
    """(B, T, D) decoded states -> the layer's queries, keys and values, float32."""
    found = {}
    for name in ("query", "key", "value"):
        found[name] = inputs @ tensors[f"{name}/kernel"]
        if f"{name}/bias" in tensors:
            found[name] = found[name] + tensors[f"{name}/bias"]
    return Projections(queries=found["query"], keys=found["key"], values=found["value"])


def sides(projections: Projections, kind: RelationKind, heads: Heads) -> tuple[Any, Any]:
    """Both sides of a relation; keys that heads share are repeated for Q-K only."""
    named = {"q": projections.queries, "k": projections.keys, "v": projections.values}
    left, right = named[kind[0]], named[kind[1]]
    if kind == "qk" and heads.num_kv_heads != heads.num_heads:
        shape = (*right.shape[:-1], heads.num_kv_heads, heads.head_dim)
        repeats = heads.num_heads // heads.num_kv_heads
        right = np.repeat(right.reshape(shape), repeats, axis=-2).reshape(left.shape)
    return left, right


def relation(
    left: np.ndarray,
    right: np.ndarray,
    *,
    num_heads: int,
    attention_mask: np.ndarray,
    causal: bool = False,
) -> np.ndarray:
    """softmax(X Y' / sqrt(d_r)) over the real tokens of each record.

    Args:
      left: (B, T, W), X.
      right: (B, T, W), Y.
      num_heads: A relation heads; W must be a multiple of it.
      attention_mask: (B, T), 1 where a token is real. Rows of padding say nothing.
      causal: a token is related only to itself and to what is before it.

    Returns:
      (B, A, T, T) float32.

    Raises:
      UsageError: the width is no multiple of the relation heads.
    """
    check_split(left.shape[-1], num_heads)
    first, second = _split(left, num_heads), _split(right, num_heads)
    return _softmax(first, second, attention_mask=attention_mask, causal=causal)


def attention_maps(
    projections: Projections, heads: Heads, *, attention_mask: np.ndarray
) -> np.ndarray:
    """The layer's own attention probabilities, (B, H, T, T) float32; `attention_mask` (B, T)."""
    queries, keys = sides(projections, "qk", heads)
    first, second = _split(queries, heads.num_heads), _split(keys, heads.num_heads)
    if heads.theta is not None:
        first, second = _rotate(first, heads.theta), _rotate(second, heads.theta)
    return _softmax(first, second, attention_mask=attention_mask, causal=heads.causal)


def check_split(width: int, num_heads: int) -> None:
    """Refuses relation heads that do not divide a width."""
    if num_heads < 1 or width % num_heads:
        raise UsageError(f"a width of {width} cannot be split into {num_heads} relation heads")


def _split(x: np.ndarray, num_heads: int) -> np.ndarray:
    """(B, T, W) -> (B, A, T, W / A)."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, num_heads, width // num_heads).transpose(0, 2, 1, 3)


def _softmax(
    left: np.ndarray, right: np.ndarray, *, attention_mask: np.ndarray, causal: bool
) -> np.ndarray:
    scores = left @ right.swapaxes(-1, -2) * np.float32(1.0 / math.sqrt(left.shape[-1]))
    hidden = attention_mask[:, None, None, :] == 0
    if causal:
        places = np.arange(left.shape[-2])
        hidden = hidden | (places[None, :] > places[:, None])
    scores = np.where(hidden, np.float32(NEVER), scores)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def _rotate(x: np.ndarray, theta: float) -> np.ndarray:
    """Turns components i and i + A/2 of (B, H, T, A) by t theta^(-2i/A), as Llama does."""
    head_dim = x.shape[-1]
    frequencies = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    angles = np.arange(x.shape[-2])[:, None] * frequencies
    angles = np.concatenate([angles, angles], axis=-1)
    first, second = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    return x * cos + np.concatenate([-second, first], axis=-1) * sin
