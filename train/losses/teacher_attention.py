"""What a relations, qkv or attention family says of its layer, at the tokens of a micro-batch."""

# Q entries, m rows, T tokens, S token slots of a stored row, H heads, W width of a projection

from typing import Any

import tensorflow as tf

from limbeck.labels.device import relations as device
from limbeck.labels.fitted import Fitted
from limbeck.labels.relations import Heads, Projections, heads_of
from limbeck.labels.signals import AttentionSignal, RelationsSignal
from train.formula import Given
from train.losses.attention import log_of, log_probabilities

__all__ = [
    "seen_keys",
    "sharing_of",
    "teacher_logs",
    "teacher_projections",
    "teacher_scores",
]


def seen_keys(given: Given) -> tf.Tensor:
    """(m, 1, 1 or T, T) bool: which keys a query sees, in the teacher as in the student."""
    causal = given.bound.fitted[0].chosen["mask"] == "causal"
    return device.visible(given.batch["attention_mask"], causal=causal)


def teacher_projections(given: Given, number: int = 0) -> Projections:
    """Queries, keys and values (m, T, W) of a relations or qkv family; 0 at tokens without any."""
    fitted, fields = given.bound.fitted[number], given.teacher(number)
    if isinstance(fitted.signal, RelationsSignal):
        found = device.project(given.clean(fields["states"]), fitted.tensors)
        parts = (found.queries, found.keys, found.values)
    else:
        parts = (fields["queries"], fields["keys"], fields["values"])
    queries, keys, values = (given.on_grid(part) for part in parts)
    return Projections(queries=queries, keys=keys, values=values)


def teacher_scores(given: Given, number: int = 0) -> tf.Tensor:
    """(m, H, T, T) scaled scores before masks and softmax, of a relations or qkv family."""
    return device.attention_scores(
        teacher_projections(given, number), heads_of(given.bound.fitted[number])
    )


def teacher_logs(given: Given, number: int = 0) -> tf.Tensor:
    """(m, H, T, T) logarithms of attention probabilities, of any of the three families."""
    if not isinstance(given.bound.fitted[number].signal, AttentionSignal):
        return log_probabilities(teacher_scores(given, number), seen=seen_keys(given))
    tokens = tf.shape(given.batch["ids"])[1]
    # Stored over S slots, of which those behind the longest row of the batch are padding.
    stored = given.teacher(number)["probabilities"][..., :tokens]
    missing = tokens - tf.shape(stored)[-1]
    by_token = given.on_grid(tf.pad(stored, [[0, 0], [0, 0], [0, missing]]))
    return log_of(tf.transpose(by_token, (0, 2, 1, 3)))


def sharing_of(fitted: Fitted) -> Heads:
    """Attention heads as far as relations need them: how many share keys, where that is known."""
    said: Any = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 0, "rotary": None, **fitted.chosen}
    return heads_of(Fitted(signal=fitted.signal, chosen=said))
