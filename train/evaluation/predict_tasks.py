"""Answers of classifiers, taggers and causal LMs to sentences."""

# T tokens, C outputs, V vocabulary

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from limbeck.tokens import Tokenizer
from train.students.student_model import reads_pooled_output, task_logits
from train.students.student_plan import StudentPlan

__all__ = ["next_tokens", "task_answers"]

Answers = tuple[list[str], list[dict[str, Any]]]


def task_answers(
    model: Any,
    plan: StudentPlan,
    names: Sequence[str],
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    top: int,
) -> Answers:
    """What the heads of these names say of every sentence.

    Of a classifier the likeliest classes with their share of the softmax, or its number where it
    has one output. Of a tagger the likeliest tag of each word, as its first piece has it; words are
    what stands between blanks.

    Raises:
      UsageError: a sentence without tokens, or longer than the model's positions.
    """
    lines, plain = [], []
    for text in texts:
        lines.append(text)
        said: dict[str, Any] = {"text": text}
        for name in names:
            words, starts, ids = _framed(text, tokenizer, limit=plan.architecture.max_positions)
            logits = _logits(model, plan, name, ids)
            if plan.heads[name].kind == "tagging":
                tags = [_label(plan, name, int(i)) for i in logits[starts].argmax(-1)]
                said[name] = [{"word": w, "tag": t} for w, t in zip(words, tags, strict=True)]
                shown = "  ".join(f"{w}/{t}" for w, t in zip(words, tags, strict=True))
            else:
                said[name] = _classes(plan, name, logits, top=top)
                shown = "  ".join(_shown(answer) for answer in said[name])
            lines.append(f"  {shown}" if len(names) == 1 else f"  {name}: {shown}")
        plain.append(said)
    return lines, plain


def next_tokens(model: Any, tokenizer: Tokenizer, texts: Sequence[str], *, top: int) -> Answers:
    """The likeliest tokens behind every text.

    Raises:
      UsageError: a text without tokens, or longer than the model's positions.
    """
    lines, plain = [], []
    for text, row in zip(texts, tokenizer.encode(list(texts)), strict=True):
        _check_length(text, len(row), limit=model.architecture.max_positions)
        ids = tf.constant([row], tf.int32)
        encoded = model.encode(ids, tf.zeros_like(ids), tf.ones_like(ids), dropout=None)
        logits = model.logits_at(encoded.last, tf.constant([[len(row) - 1]], tf.int32))[0, 0]
        p = tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()
        best = np.argsort(-p, kind="stable")[: min(top, len(p))]
        guesses = [{"token": tokenizer.token(int(i)), "probability": float(p[i])} for i in best]
        lines += [text, "  " + "  ".join(f"{g['token']} {g['probability']:.3f}" for g in guesses)]
        plain.append({"text": text, "next": guesses})
    return lines, plain


def _framed(
    text: str, tokenizer: Tokenizer, *, limit: int
) -> tuple[list[str], list[int], list[int]]:
    """Words that have tokens, place of each word's first one, and the ids between special ones."""
    special = tokenizer.special
    if special.cls is None or special.sep is None:
        raise UsageError("the tokenizer has no tokens to begin and end a sentence with")
    words, starts, ids = [], [], [special.cls]
    whole = text.split()
    for word, pieces in zip(whole, tokenizer.encode_words(whole), strict=True):
        if pieces:
            words.append(word)
            starts.append(len(ids))
            ids += pieces
    _check_length(text, len(words), limit=limit)
    ids.append(special.sep)
    _check_length(text, len(ids), limit=limit)
    return words, starts, ids


def _logits(model: Any, plan: StudentPlan, name: str, row: list[int]) -> np.ndarray:
    """(C,) of a classifier, (T, C) of a tagger."""
    ids = tf.constant([row], tf.int32)
    more = {"pooled": True} if reads_pooled_output(plan, name) else {}
    encoded = model.encode(ids, tf.zeros_like(ids), tf.ones_like(ids), dropout=None, **more)
    kind = plan.heads[name].kind
    return np.asarray(task_logits(model, name, kind, encoded, dropout=None)[0])


def _classes(plan: StudentPlan, name: str, logits: np.ndarray, *, top: int) -> list[dict[str, Any]]:
    if len(logits) == 1:
        return [{"value": float(logits[0])}]
    shifted = np.exp(logits - logits.max())
    p = shifted / shifted.sum()
    best = np.argsort(-logits, kind="stable")[: min(top, len(p))]
    return [
        {
            "label": _label(plan, name, int(i)),
            "probability": float(p[i]),
            "logit": float(logits[i]),
        }
        for i in best
    ]


def _shown(answer: dict[str, Any]) -> str:
    if "value" in answer:
        return f"{answer['value']:.4f}"
    return f"{answer['label']} {answer['probability']:.3f}"


def _label(plan: StudentPlan, name: str, number: int) -> str:
    labels = plan.heads[name].labels
    return labels[number] if labels else str(number)


def _check_length(text: str, tokens: int, *, limit: int) -> None:
    if not tokens:
        raise UsageError(f"{text!r} has no tokens")
    if tokens > limit:
        raise UsageError(f"{text[:40]!r}... has {tokens} tokens; the model takes {limit}")
