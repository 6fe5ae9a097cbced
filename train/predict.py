"""Fills masks in sentences: what a model has learned, for people's eyes."""

# B sentences, T tokens, V vocabulary

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from limbeck.tokens import Tokenizer

__all__ = ["MASK", "Filling", "as_plain", "encode_with_masks", "fill_masks"]

MASK = "[MASK]"


@dataclass(frozen=True, kw_only=True)
class Filling:
    """One mask of a sentence."""

    position: int
    """Its place among the tokens."""

    tokens: tuple[str, ...]
    """The likeliest, falling."""

    probabilities: tuple[float, ...]
    """Theirs."""


def encode_with_masks(text: str, tokenizer: Tokenizer) -> list[int]:
    """The text as ids between the tokenizer's special tokens; its "[MASK]"s are masks.

    The tokenizer reads "[MASK]" as plain characters, so the text is cut there first. The
    vocabulary's own spelling, such as "<mask>", means the same.

    Raises:
      UsageError: no mask in it, or in the vocabulary.
    """
    special = tokenizer.special
    if special.mask is None or special.cls is None or special.sep is None:
        raise UsageError("the tokenizer has no mask token: the model cannot fill masks")
    parts = text.replace(tokenizer.token(special.mask), MASK).split(MASK)
    if len(parts) == 1:
        raise UsageError(f"{text!r} has no {MASK}; put one where the model shall guess")
    ids = [special.cls]
    for index, piece in enumerate(tokenizer.encode(parts)):
        ids += [special.mask, *piece] if index else piece
    return [*ids, special.sep]


def fill_masks(
    model: Any, tokenizer: Tokenizer, texts: Sequence[str], *, top: int = 5
) -> list[list[Filling]]:
    """The likeliest tokens at every mask of every sentence.

    Args:
      model: a built `limbeck.models.masked_lm.MaskedLM`.
      tokenizer: the model's.
      texts: sentences with at least one "[MASK]" each.
      top: tokens a mask.

    Raises:
      UsageError: a sentence without a mask, or longer than the model's positions.
    """
    rows = [encode_with_masks(text, tokenizer) for text in texts]
    limit = model.architecture.max_positions
    for text, row in zip(texts, rows, strict=True):
        if len(row) > limit:
            raise UsageError(f"{text[:40]!r}... has {len(row)} tokens; the model takes {limit}")
    return [_fill(model, tokenizer, row, top) for row in rows]


def as_plain(texts: Sequence[str], answers: Sequence[Sequence[Filling]]) -> list[dict[str, Any]]:
    """The guesses as JSON holds them: per sentence its text, and per mask its likeliest tokens."""
    return [
        {
            "text": text,
            "masks": [
                [
                    {"token": token, "probability": probability}
                    for token, probability in zip(f.tokens, f.probabilities, strict=True)
                ]
                for f in fillings
            ],
        }
        for text, fillings in zip(texts, answers, strict=True)
    ]


def _fill(model: Any, tokenizer: Tokenizer, row: list[int], top: int) -> list[Filling]:
    ids = tf.constant([row], tf.int32)
    masks = np.flatnonzero(np.array(row) == tokenizer.special.mask)
    encoded = model.encode(ids, tf.zeros_like(ids), tf.ones_like(ids), dropout=None)
    logits = model.logits_at(encoded.last, tf.constant(masks[None], tf.int32))[0]
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32), axis=-1).numpy()
    fillings = []
    for position, p in zip(masks.tolist(), probabilities, strict=True):
        best = np.argsort(-p, kind="stable")[: min(top, len(p))]
        fillings.append(
            Filling(
                position=position,
                tokens=tuple(tokenizer.token(int(i)) for i in best),
                probabilities=tuple(float(p[i]) for i in best),
            )
        )
    return fillings
