"""Sums over held-out entries, and the metrics that they give. Nothing else is kept of a row.

A measure turns a batch into a vector of float64 sums, the number of entries first; vectors of all
batches and ranks are added, and metrics follow from the totals.
"""

# m rows, T tokens, Q entries of a padded list, V vocabulary, C outputs, D width of a state

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from limbeck.labels.signals import SparseSignal, TaskSignal
from limbeck.labels.sparse import temperature_column
from train.evaluation.heldout import KL_TEMPERATURE, Comparison
from train.formula import Outputs
from train.losses import full_kl_values, hidden_cosine_values, kl_values, masked_lm_values
from train.losses.labels import binary_values, class_values, span_values
from train.losses.logit_formulas import clean_head
from train.metrics.questions import Question
from train.reading.batch import MicroBatch, base_list
from train.reading.families import Family

__all__ = ["CosineMeasure", "KLMeasure", "LabelMeasure", "Measure", "Projection", "at_entries"]

Projection = Callable[[tf.Tensor], tf.Tensor]
Sums = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Measure(Protocol):
    """What is added up, and what it means."""

    name: str
    """Of its count."""
    num_sums: int
    """Length of its vector."""

    def sums(self, outputs: Outputs, batch: MicroBatch) -> tf.Tensor:
        """(num_sums,) float64 of a batch; entries first."""

    def values(self, total: np.ndarray) -> dict[str, float]:
        """Metrics by name, behind `eval/`; nan where there were no entries."""


class LabelMeasure:
    """Answers against the labels of the examples.

    Args:
      question: which.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.name = question.name
        classes = 3 * question.size
        self.num_sums = {
            "language": 3,
            "classes": 3 + classes,
            "flags": 2 + classes,
            "number": 7,
            "span": 3,
        }[question.kind]

    def sums(self, outputs: Outputs, batch: MicroBatch) -> tf.Tensor:
        """See Measure."""
        question = self.question
        valid = batch["items"][question.list]["valid"]
        labels = batch["labels"][question.list]
        if question.head is None:
            logits = outputs.logits[question.list]
        elif question.kind == "span":
            return _span_sums(outputs.heads[question.head], labels, valid, batch, question.list)
        else:
            logits = at_entries(outputs.heads[question.head], batch, question.list)
        return _SUMS[question.kind](logits, labels, valid)

    def values(self, total: np.ndarray) -> dict[str, float]:
        """See Measure."""
        count = total[0]
        means = total / count if count else np.full_like(total, np.nan)
        found = _VALUES[self.question.kind](means, total)
        if self.question.list == "next":
            # exp overflows beyond 709 nats, which no vocabulary's cross-entropy means to be.
            found["perplexity"] = math.exp(min(found["cross_entropy"], 700.0))
        return {f"{name}{self.question.suffix}": float(v) for name, v in found.items()}


class KLMeasure:
    """KL(teacher || student) at T = 1 against a sparse, final or task family.

    Args:
      family: of the examples.
      head: that a task family is of; None for the vocabulary's.
      suffix: of the metric.
    """

    def __init__(self, family: Family, *, head: str | None = None, suffix: str = "") -> None:
        self.name = f"kl{suffix}"
        self.num_sums = 2
        self._family = family
        self.head = head
        self._decoder = _decoder(family)

    def sums(self, outputs: Outputs, batch: MicroBatch) -> tf.Tensor:
        """See Measure."""
        family = self._family
        name, items = family.list_name, batch["items"][family.list_name]
        valid, teacher = items["valid"], batch["teacher"][family.name]
        if self.head is not None:
            logits = at_entries(outputs.heads[self.head], batch, name)
            target = tf.where(valid[:, None], tf.cast(teacher["logits"], tf.float32), 0.0)
            return _stack(valid, full_kl_values(logits, target, temperature=KL_TEMPERATURE))
        logits = outputs.logits[base_list(name)]
        if name != base_list(name):
            logits = tf.gather(logits, items["entry"])
        return _stack(valid, self._vocabulary(logits, teacher, valid))

    def values(self, total: np.ndarray) -> dict[str, float]:
        """See Measure."""
        return {self.name: _mean(total)}

    def _vocabulary(
        self, logits: tf.Tensor, teacher: Mapping[str, tf.Tensor], valid: tf.Tensor
    ) -> tf.Tensor:
        """(Q,)."""
        if self._decoder is not None:
            kernel, bias = self._decoder
            states = tf.where(valid[:, None], tf.cast(teacher["states"], tf.float32), 0.0)
            full = tf.matmul(states, kernel, transpose_b=True) + bias
            return full_kl_values(logits, full, temperature=KL_TEMPERATURE)
        signal = self._family.signal
        assert isinstance(signal, SparseSignal)
        column = temperature_column(signal.temperatures, KL_TEMPERATURE)
        return kl_values(logits, *clean_head(teacher, valid, column), temperature=KL_TEMPERATURE)


class CosineMeasure:
    """States of a layer against a hidden family.

    Args:
      comparison: which.
      family: of the examples.
      projection: from the student's states to the teacher's width; None for none.
    """

    def __init__(
        self, comparison: Comparison, family: Family, projection: Projection | None = None
    ) -> None:
        self.name = comparison.name
        self.num_sums = 2
        self._layer = comparison.layer
        self._family = family
        self._projection = projection

    def sums(self, outputs: Outputs, batch: MicroBatch) -> tf.Tensor:
        """See Measure."""
        name = self._family.list_name
        states = at_entries(outputs.hidden[self._layer], batch, name)
        if self._projection is not None:
            states = self._projection(states)
        target = batch["teacher"][self._family.name]["states"]
        cosines = 1.0 - hidden_cosine_values(states, target)
        return _stack(batch["items"][name]["valid"], cosines)

    def values(self, total: np.ndarray) -> dict[str, float]:
        """See Measure."""
        return {f"cosine_{self.name}": _mean(total)}


def at_entries(answers: tf.Tensor, batch: MicroBatch, name: str) -> tf.Tensor:
    """(m, C) of rows or (m, T, C) of tokens -> (Q, C) at the entries of a list."""
    index = batch["items"][name]["index"]
    if len(answers.shape) == 2:
        return tf.gather(answers, index // tf.shape(batch["ids"])[1])
    return tf.gather(tf.reshape(answers, (-1, answers.shape[-1])), index)


def _language_sums(logits: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Entries, right guesses (ties go to the lower id), cross-entropies."""
    guesses = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return _stack(valid, guesses == labels, masked_lm_values(logits, labels))


def _class_sums(logits: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """The same; then hits, false alarms and misses of each class."""
    size = logits.shape[-1]
    guesses = tf.argmax(logits, axis=-1, output_type=tf.int32)
    head = _stack(valid, guesses == labels, class_values(logits, labels))
    guessed, true = (tf.one_hot(x, size, True, False, dtype=tf.bool) for x in (guesses, labels))
    return tf.concat([head, _confusion(guessed, true, valid)], 0)


def _flag_sums(logits: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Rows, binary cross-entropies; then hits, false alarms and misses of each label."""
    head = _stack(valid, binary_values(logits, labels))
    return tf.concat([head, _confusion(logits > 0, labels > 0, valid)], 0)


def _number_sums(outputs: tf.Tensor, targets: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Rows, squared differences, and the moments of a correlation."""
    guess, true = tf.cast(outputs[:, 0], tf.float64), tf.cast(targets, tf.float64)
    return _stack(
        valid, tf.square(guess - true), guess, true, guess * guess, true * true, guess * true
    )


def _span_sums(
    logits: tf.Tensor, spans: tf.Tensor, valid: tf.Tensor, batch: MicroBatch, name: str
) -> tf.Tensor:
    """Rows, those whose likeliest first and last tokens are both right, cross-entropies."""
    rows = batch["items"][name]["index"] // tf.shape(batch["ids"])[1]
    logits, real = tf.gather(logits, rows), tf.gather(batch["attention_mask"], rows)
    among = tf.where(real[:, :, None] > 0, logits, logits.dtype.min)
    guesses = tf.argmax(among, axis=1, output_type=tf.int32)  # (Q, 2)
    exact = tf.reduce_all(guesses == spans, axis=-1)
    return _stack(valid, exact, span_values(logits, spans, real))


_SUMS: Mapping[str, Sums] = {
    "language": _language_sums,
    "classes": _class_sums,
    "flags": _flag_sums,
    "number": _number_sums,
}


def _class_values(means: np.ndarray, total: np.ndarray) -> dict[str, float]:
    return {"accuracy": means[1], "macro_f1": _macro_f1(total[3:]), "cross_entropy": means[2]}


def _flag_values(means: np.ndarray, total: np.ndarray) -> dict[str, float]:
    hits, alarms, misses = total[2:].reshape(3, -1).sum(axis=1)
    whole = 2 * hits + alarms + misses
    return {"micro_f1": 2 * hits / whole if whole else np.nan, "cross_entropy": means[1]}


def _number_values(means: np.ndarray, total: np.ndarray) -> dict[str, float]:
    mse, guess, true, guess2, true2, both = means[1:]
    spread = math.sqrt(max(guess2 - guess**2, 0.0)) * math.sqrt(max(true2 - true**2, 0.0))
    return {"mse": mse, "pearson": (both - guess * true) / spread if spread > 0 else np.nan}


_VALUES: Mapping[str, Callable[[np.ndarray, np.ndarray], dict[str, Any]]] = {
    "language": lambda means, _: {"accuracy": means[1], "cross_entropy": means[2]},
    "classes": _class_values,
    "flags": _flag_values,
    "number": _number_values,
    "span": lambda means, _: {"exact_match": means[1], "cross_entropy": means[2]},
}


def _macro_f1(counts: np.ndarray) -> float:
    """Mean F1 of the classes that occur among labels or guesses; nan without any."""
    hits, alarms, misses = counts.reshape(3, -1)
    whole = 2 * hits + alarms + misses
    there = whole > 0
    return float((2 * hits[there] / whole[there]).mean()) if there.any() else float("nan")


def _confusion(guessed: tf.Tensor, true: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """(3 C,) float64: hits, false alarms and misses by class, of (Q, C) truth values."""
    here = valid[:, None]
    parts = (guessed & true & here, guessed & ~true & here, ~guessed & true & here)
    return tf.concat([tf.reduce_sum(tf.cast(part, tf.float64), axis=0) for part in parts], 0)


def _stack(valid: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
    """Float64 number of entries and sums; what only fills the list leaves by `where`."""
    sums = [tf.reduce_sum(tf.cast(valid, tf.float64))]
    sums += [tf.reduce_sum(tf.where(valid, tf.cast(v, tf.float64), 0.0)) for v in values]
    return tf.stack(sums)


def _mean(total: np.ndarray) -> float:
    return float(total[1] / total[0]) if total[0] else float("nan")


def _decoder(family: Family) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Matrix (V, D) and bias (V,) of a final family, once in memory and not in any graph."""
    if isinstance(family.signal, SparseSignal | TaskSignal):
        return None
    tensors = family.fitted.tensors
    return tf.constant(tensors["decoder/kernel"]), tf.constant(tensors["decoder/bias"])
