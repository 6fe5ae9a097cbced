"""Answers to sentences: what a model has learned, for people's eyes.

A masked LM fills masks, a causal LM says what comes next, a classifier names the classes of a
sentence, a tagger the tag of each word.
"""

# B sentences, T tokens, V vocabulary

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from limbeck.tokens import Tokenizer
from train.evaluation.models import LoadedModel
from train.evaluation.predict_tasks import next_tokens, task_answers

__all__ = ["MASK", "Filling", "as_plain", "encode_with_masks", "fill_masks", "predict_lines"]

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


def predict_lines(
    loaded: LoadedModel, tokenizer: Tokenizer, texts: Sequence[str], *, top: int = 5
) -> tuple[list[str], list[dict[str, Any]]]:
    """The answers to every sentence, as lines to print and as JSON holds them.

    Args:
      loaded: the model.
      tokenizer: the model's.
      texts: sentences.
      top: tokens or classes shown.

    Raises:
      UsageError: the model cannot be asked about sentences, or a sentence does not fit.
    """
    plan = loaded.plan
    tasks = [n for n, head in plan.heads.items() if head.kind in ("classification", "tagging")]
    if tasks:
        return task_answers(loaded.model, plan, tasks, tokenizer, texts, top=top)
    if plan.language == "next":
        return next_tokens(loaded.model, tokenizer, texts, top=top)
    if plan.language != "masked":
        raise UsageError(
            f"{loaded.title}: {plan.title}; predict needs a language model, a classifier or a "
            "tagger"
        )
    answers = fill_masks(loaded.model, tokenizer, texts, top=top)
    lines = []
    for text, fillings in zip(texts, answers, strict=True):
        lines.append(text)
        for filling in fillings:
            guesses = zip(filling.tokens, filling.probabilities, strict=True)
            lines.append("  " + "  ".join(f"{token} {p:.3f}" for token, p in guesses))
    return lines, as_plain(texts, answers)


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
