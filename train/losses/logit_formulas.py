"""Formulas of the terms on logits (`train.recipe.terms.logits`, `train.recipe.terms.full_logits`).

The teacher's side is a sparse head, a weighted sample, or all logits of one or several teachers.
"""

# Q entries, V logits, K kept ids, D width of a final state, G temperatures in a grid

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from limbeck.labels.signals import FinalSignal, SparseSignal
from limbeck.labels.sparse import temperature_column
from train.formula import BoundTerm, Given, formula
from train.losses.full import (
    full_log_probs,
    kl_to_log_probs,
    soft_cross_entropy_to_log_probs,
)
from train.losses.kl import MissingMass, kl_values, soft_cross_entropy_values
from train.losses.logit_values import logit_mse_values, sigmoid_cross_entropy_values
from train.losses.sampled import sampled_cross_entropy_values
from train.losses.tail import log_tail_between
from train.losses.teachers import mean_logits, mixture_log_probs, shift_to_labels
from train.losses.temperatures import (
    Temperature,
    cwsm_weights,
    entry_temperatures,
    flsw_weights,
)
from train.recipe.temperatures import FlswTemperature
from train.recipe.terms.full_logits import LogitMSETerm, SigmoidTerm
from train.recipe.terms.logits import DistributionTerm

__all__ = [
    "DistributionFormula",
    "LogitMSEFormula",
    "clean_head",
    "full_logits",
    "sigmoid",
    "student_logits",
    "teacher_logits",
]


class ScheduledFormula:
    """Formulas whose entries may have temperatures of their own; see `train.formula.BatchFormula`.

    The statistic of the global batch is the mean of the weights.
    """

    def statistics(self, given: Given) -> tf.Tensor:
        """(1,) sum of the weights."""
        return tf.reduce_sum(tf.where(given.valid, _weights(given), 0.0))[None]

    def settle(self, total: np.ndarray, *, count: int, bound: BoundTerm) -> np.ndarray:
        """(1,) their mean."""
        return total / np.float32(max(count, 1))

    def temperature(self, given: Given) -> Temperature:
        """The term's, or (Q,) one for each entry."""
        schedule = given.term.temperature
        if isinstance(schedule, int | float):
            return float(schedule)
        return entry_temperatures(schedule, _weights(given), mean=given.settled[0])


class DistributionFormula(ScheduledFormula):
    """KL or cross-entropy, by what the family holds."""

    def __call__(self, given: Given) -> tf.Tensor:
        """(Q,) values; with tau^2 inside where each entry has its own tau."""
        term, temperature = given.term, self.temperature(given)
        signal = given.bound.fitted[0].signal
        if isinstance(signal, SparseSignal):
            values = _against_head(given, temperature, grid=signal.temperatures)
        else:
            against = kl_to_log_probs if term.loss == "kl" else soft_cross_entropy_to_log_probs
            target = _full_target(given, temperature)
            values = against(student_logits(given), target, temperature=temperature)
        if term.reach == "batch" and term.scale_by_temperature_squared:
            values *= tf.square(temperature)
        return values


class LogitMSEFormula(ScheduledFormula):
    """Squared differences of logits."""

    def __call__(self, given: Given) -> tf.Tensor:
        """(Q,) values."""
        return logit_mse_values(
            student_logits(given),
            teacher_logits(given),
            temperature=self.temperature(given),
            reduction=given.term.reduction,
        )


formula(DistributionTerm)(DistributionFormula())
formula(LogitMSETerm)(LogitMSEFormula())


@formula(SigmoidTerm)
def sigmoid(given: Given) -> tf.Tensor:
    """(Q,) mean of the labels' binary cross-entropies."""
    term = given.term
    teachers = [full_logits(given, number) for number in range(len(term.signals))]
    shares = term.teacher_shares
    if term.combine != "probabilities":
        teachers, shares = [mean_logits(teachers, shares)], (1.0,)
    return sigmoid_cross_entropy_values(
        student_logits(given), teachers, shares=shares, temperature=float(term.temperature)
    )


def student_logits(given: Given) -> tf.Tensor:
    """(Q, V) float32 of the vocabulary, or (Q, C) of a task head."""
    return given.logits() if given.bound.wants.logits else given.head_logits()


def teacher_logits(given: Given) -> tf.Tensor:
    """(Q, V) float32: the mean of the teachers' logits, shifted to the labels where asked for."""
    term = given.term
    each = [full_logits(given, number) for number in range(len(term.signals))]
    logits = each[0] if len(each) == 1 else mean_logits(each, term.teacher_shares)
    return shift_to_labels(logits, given.labels) if term.probability_shift else logits


def full_logits(given: Given, number: int = 0) -> tf.Tensor:
    """(Q, V) float32 logits of a final or task family; at entries that are not valid those of
    state 0, or 0."""
    fitted = given.bound.fitted[number]
    if not isinstance(fitted.signal, FinalSignal):
        return given.clean(given.teacher(number)["logits"])
    tensors = fitted.tensors
    kernel, bias = (tf.constant(tensors[f"decoder/{name}"]) for name in ("kernel", "bias"))
    return tf.matmul(given.teacher_states(number), kernel, transpose_b=True) + bias


def clean_head(
    teacher: Mapping[str, tf.Tensor], valid: tf.Tensor, column: int | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """ids, logits and log_tail with a harmless distribution at entries that are not valid.

    The losses' `where` comes too late for those: the gradient of a loss at NaN is NaN already. They
    get a head of one id, so that there is a tail even where others keep the whole vocabulary.

    Args:
      teacher: fields of a sparse family.
      valid: (Q,).
      column: of log_tail, which is then (Q,); None: all, (Q, G).
    """
    here, is_first = valid[:, None], tf.range(teacher["ids"].shape[-1]) == 0
    ids = tf.where(here, teacher["ids"], 0)
    one = tf.where(is_first, 0.0, float("-inf"))
    logits = tf.where(here, tf.cast(teacher["logits"], tf.float32), one)
    log_tail = tf.where(here, teacher["log_tail"], -1.0)
    return ids, logits, log_tail if column is None else log_tail[:, column]


def _against_head(given: Given, temperature: Temperature, *, grid: tuple[float, ...]) -> tf.Tensor:
    """(Q,) values against a sparse head, or a weighted sample."""
    term, teacher, logits = given.term, given.teacher(), given.logits()
    is_lean_sample = "logits" not in teacher
    if is_lean_sample or term.missing_mass == "sampled":
        weights, tau = teacher["weights"], float(temperature)
        if not is_lean_sample:
            weights = weights[:, :, temperature_column(grid, tau)]
        here = given.valid[:, None]
        ids, weights = (tf.where(here, values, 0) for values in (teacher["ids"], weights))
        return sampled_cross_entropy_values(logits, ids, weights, temperature=tau)
    ids, head, log_tails = clean_head(teacher, given.valid, None)
    if isinstance(temperature, float) and temperature in grid:
        log_tail = log_tails[:, temperature_column(grid, temperature)]
    elif term.missing_mass == "renormalised":
        log_tail = log_tails[:, 0]  # plays no part
    else:
        vocab_size = tf.shape(logits)[-1]
        log_tail = log_tail_between(
            head, log_tails, grid=grid, temperature=temperature, vocab_size=vocab_size
        )
    against = kl_values if term.loss == "kl" else soft_cross_entropy_values
    missing: MissingMass = term.missing_mass or "bucket"
    return against(logits, ids, head, log_tail, temperature=temperature, missing_mass=missing)


def _full_target(given: Given, temperature: Temperature) -> tf.Tensor:
    """(Q, V) log-probabilities of one or several teachers at a temperature."""
    term = given.term
    if term.combine != "probabilities":
        return full_log_probs(teacher_logits(given), temperature=temperature)
    each = [full_logits(given, number) for number in range(len(term.signals))]
    log_p = mixture_log_probs(each, term.teacher_shares, temperature=temperature)
    return shift_to_labels(log_p, given.labels) if term.probability_shift else log_p


def _weights(given: Given) -> tf.Tensor:
    """(Q,) what a schedule compares with its mean."""
    schedule = given.term.temperature
    if isinstance(schedule, FlswTemperature):
        return flsw_weights(student_logits(given), teacher_logits(given), gamma=schedule.gamma)
    return cwsm_weights(student_logits(given))
