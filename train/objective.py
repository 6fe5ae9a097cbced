"""The scalar that is differentiated: a sum of terms, each over its own global count.

    L = sum_j  w_j tau_j^2  S_j / N_j

S_j sums term j over the entries of this rank's micro-batch, N_j counts its entries in the whole
global batch, over all ranks and micro-batches. N_j comes from the labels before any forward pass,
so gradients are only summed afterwards, never divided, and any cut of the batch gives the same
gradient. N_j = 0 makes the term exactly 0.
"""

# m rows, T tokens, Q entries of a group, V vocabulary, D hidden, J terms

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, SparseSignal
from limbeck.labels.sparse import temperature_column
from train import losses
from train.batch import MicroBatch, base_group
from train.recipe import LOGIT_LOSSES, Term, term_names

__all__ = ["BoundTerm", "Objective", "Outputs", "bind", "clean_head"]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a forward pass of the student leaves for the losses."""

    logits: Any
    """(Q, V) float32 at the entries of the list "masked"; None where no term needs them."""

    states: Mapping[int, Any]
    """layer -> (m * T, D), for the layers that terms compare."""


@dataclass(frozen=True, kw_only=True)
class BoundTerm:
    """A term of the recipe, resolved against the families it reads."""

    term: Term
    """As the recipe has it."""

    name: str
    """Unique in the objective: the loss, numbered where it occurs more than once."""

    list: str
    """Which list of a batch it sums over: of a group, or of a partial family."""

    column: int = 0
    """Column of a sparse family's `log_tail` for its temperature."""

    decoder: tuple[np.ndarray, np.ndarray] | None = None
    """Of a final family: matrix (V, D) and bias (V,), float32."""


@dataclass(frozen=True)
class Objective:
    """The terms in the recipe's order."""

    terms: tuple[BoundTerm, ...]
    """At least one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The J names, in order."""
        return tuple(bound.name for bound in self.terms)

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists of a batch that any term needs."""
        lists = dict.fromkeys(bound.list for bound in self.terms)
        if self.needs_logits:
            lists["masked"] = None  # where the student's logits are computed
        return tuple(lists)

    @property
    def needs_logits(self) -> bool:
        """Whether any term looks at the vocabulary."""
        return any(bound.term.student_layer is None for bound in self.terms)

    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """The student's layers that terms compare, rising."""
        layers = {b.term.student_layer for b in self.terms if b.term.student_layer is not None}
        return tuple(sorted(layers))

    def counts(self, items: Mapping[str, int]) -> np.ndarray:
        """(J,) int64: this rank's part of each N_j, from its number of entries in each list."""
        return np.array([items[bound.list] for bound in self.terms], np.int64)

    def factors(self, counts: np.ndarray) -> np.ndarray:
        """(J,) float32 w_j tau_j^2 / N_j from the global counts; exactly 0 where N_j is 0."""
        scales = np.array([bound.term.scale for bound in self.terms], np.float64)
        return np.where(counts > 0, scales / np.maximum(counts, 1), 0.0).astype(np.float32)

    def sums(
        self, outputs: Outputs, batch: MicroBatch, projections: Mapping[int, Any]
    ) -> tf.Tensor:
        """(J,) float32 S_j of a micro-batch, before weights, tau^2 and counts.

        Args:
          outputs: the student's.
          batch: the micro-batch as tensors.
          projections: index of the term -> map of its student states to the teacher's width.
        """
        values = [
            _values(bound, outputs, batch, projections.get(index))
            for index, bound in enumerate(self.terms)
        ]
        # Entries that only fill the list leave by `where`: 0 * NaN would be NaN.
        valid = [batch["items"][bound.list]["valid"] for bound in self.terms]
        return tf.stack(
            [tf.reduce_sum(tf.where(v, x, 0.0)) for v, x in zip(valid, values, strict=True)]
        )


def bind(terms: Sequence[Term], families: Mapping[str, Any]) -> Objective:
    """Resolves terms against opened families (`train.families`).

    Raises:
      UsageError: a temperature outside a family's grid, or a loss that it cannot give.
    """
    bound: list[BoundTerm] = []
    for term, name in zip(terms, term_names(terms), strict=True):
        if term.signal is None:
            bound.append(BoundTerm(term=term, name=name, list="masked"))
        else:
            bound.append(_bound_to_family(term, name, families[term.signal]))
    return Objective(tuple(bound))


def _bound_to_family(term: Term, name: str, family: Any) -> BoundTerm:
    signal, column, decoder = family.signal, 0, None
    if isinstance(signal, SparseSignal):
        column = temperature_column(signal.temperatures, term.temperature)
        if term.loss == "kl" and signal.form == "lean" and signal.sample:
            raise UsageError(
                f"loss kl cannot learn from {term.signal!r}: a lean sample does not tell the "
                "teacher's entropy; take soft_ce, whose gradient is the same"
            )
    elif isinstance(signal, FinalSignal):
        tensors = family.fitted.tensors
        decoder = tensors["decoder/kernel"], tensors["decoder/bias"]
    return BoundTerm(term=term, name=name, list=family.list_name, column=column, decoder=decoder)


def _values(bound: BoundTerm, outputs: Outputs, batch: MicroBatch, projection: Any) -> tf.Tensor:
    """(Q,) values of one term; what stands at entries that are not valid is finite."""
    term = bound.term
    items = batch["items"][bound.list]
    if term.loss == "mlm":
        return losses.masked_lm_values(outputs.logits, batch["true_ids"])
    teacher = batch["teacher"][term.signal]
    if term.loss in LOGIT_LOSSES:
        logits = outputs.logits
        if bound.list != base_group(bound.list):
            logits = tf.gather(logits, items["entry"])
        return _logit_values(bound, logits, teacher, items["valid"])
    assert term.student_layer is not None  # Term.__post_init__ sees to it
    states = tf.gather(outputs.states[term.student_layer], items["index"])
    if projection is not None:
        states = projection(states)
    target = _clean(teacher["states"], items["valid"])
    if term.loss == "hidden_mse":
        return losses.hidden_mse_values(states, target)
    return losses.hidden_cosine_values(states, target)


def _logit_values(
    bound: BoundTerm, logits: tf.Tensor, teacher: Mapping[str, tf.Tensor], valid: tf.Tensor
) -> tf.Tensor:
    """(Q,) values of a term on the student's distribution."""
    term, temperature = bound.term, bound.term.temperature
    if bound.decoder is not None:
        kernel, bias = (tf.constant(array) for array in bound.decoder)
        full = tf.matmul(_clean(teacher["states"], valid), kernel, transpose_b=True) + bias
        against_full = (
            losses.full_kl_values if term.loss == "kl" else losses.full_soft_cross_entropy_values
        )
        return against_full(logits, full, temperature=temperature)
    if "weights" in teacher:
        weights = tf.where(valid[:, None], teacher["weights"], 0.0)
        ids = tf.where(valid[:, None], teacher["ids"], 0)
        return losses.sampled_cross_entropy_values(logits, ids, weights, temperature=temperature)
    function = losses.kl_values if term.loss == "kl" else losses.soft_cross_entropy_values
    head = clean_head(teacher, valid, bound.column)
    return function(logits, *head, temperature=temperature, missing_mass=term.missing_mass)


def _clean(states: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """(Q, D) float32 states, 0 at entries that are not valid."""
    return tf.where(valid[:, None], tf.cast(states, tf.float32), 0.0)


def clean_head(
    teacher: Mapping[str, tf.Tensor], valid: tf.Tensor, column: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """ids, logits and log_tail with a harmless distribution at entries that are not valid.

    The losses' `where` comes too late for those: the gradient of a loss at NaN is NaN already.
    """
    k = teacher["ids"].shape[-1]
    here = valid[:, None]
    ids = tf.where(here, teacher["ids"], tf.range(k, dtype=teacher["ids"].dtype)[None])
    logits = tf.where(here, tf.cast(teacher["logits"], tf.float32), 0.0)
    log_tail = tf.where(valid, teacher["log_tail"][:, column], -1.0)
    return ids, logits, log_tail
