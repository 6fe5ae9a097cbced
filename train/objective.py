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

from limbeck.labels.sparse import temperature_column
from train import losses
from train.batch import Group, MicroBatch
from train.recipe import LOGIT_LOSSES, Term

__all__ = ["BoundTerm", "Objective", "Outputs", "bind", "clean_head"]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a forward pass of the student leaves for the losses."""

    logits: Any
    """(Q, V) float32 at the entries of group "masked"; None where no term needs them."""

    states: Mapping[int, Any]
    """layer -> (m * T, D), for the layers that terms compare."""


@dataclass(frozen=True, kw_only=True)
class BoundTerm:
    """A term of the recipe, resolved against the families it reads."""

    term: Term
    """As the recipe has it."""

    name: str
    """Unique in the objective: the loss, numbered where it occurs more than once."""

    group: Group
    """Which entries it sums over."""

    column: int = 0
    """Column of the family's `log_tail` for its temperature."""


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
    def groups(self) -> tuple[Group, ...]:
        """The groups that any term sums over."""
        return tuple(dict.fromkeys(bound.group for bound in self.terms))

    @property
    def needs_logits(self) -> bool:
        """Whether any term looks at the vocabulary."""
        return any(bound.term.student_layer is None for bound in self.terms)

    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """The student's layers that terms compare, rising."""
        layers = {b.term.student_layer for b in self.terms if b.term.student_layer is not None}
        return tuple(sorted(layers))

    def counts(self, items: Mapping[Group, int]) -> np.ndarray:
        """(J,) int64: this rank's part of each N_j, from its number of entries in each group."""
        return np.array([items[bound.group] for bound in self.terms], np.int64)

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
        valid = [batch["items"][bound.group]["valid"] for bound in self.terms]
        return tf.stack(
            [tf.reduce_sum(tf.where(v, x, 0.0)) for v, x in zip(valid, values, strict=True)]
        )


def bind(terms: Sequence[Term], families: Mapping[str, Any]) -> Objective:
    """Resolves terms against opened families (`train.families`).

    Raises:
      UsageError: a temperature outside a family's grid.
    """
    bound: list[BoundTerm] = []
    for term in terms:
        seen = sum(b.term.loss == term.loss for b in bound)
        name = f"{term.loss}_{seen + 1}" if seen else term.loss
        group: Group = "masked"
        column = 0
        if term.signal is not None:
            signal = families[term.signal].signal
            group = signal.positions
            if term.loss in LOGIT_LOSSES:
                column = temperature_column(signal.temperatures, term.temperature)
        bound.append(BoundTerm(term=term, name=name, group=group, column=column))
    return Objective(tuple(bound))


def _values(bound: BoundTerm, outputs: Outputs, batch: MicroBatch, projection: Any) -> tf.Tensor:
    """(Q,) values of one term; what stands at entries that are not valid is finite."""
    term = bound.term
    items = batch["items"][bound.group]
    if term.loss == "mlm":
        return losses.masked_lm_values(outputs.logits, batch["true_ids"])
    teacher = batch["teacher"][term.signal]
    if term.loss in LOGIT_LOSSES:
        function = losses.kl_values if term.loss == "kl" else losses.soft_cross_entropy_values
        head = clean_head(teacher, items["valid"], bound.column)
        return function(
            outputs.logits,
            *head,
            temperature=term.temperature,
            missing_mass=term.missing_mass,
        )
    assert term.student_layer is not None  # Term.__post_init__ sees to it
    states = tf.gather(outputs.states[term.student_layer], items["index"])
    if projection is not None:
        states = projection(states)
    target = tf.where(items["valid"][:, None], tf.cast(teacher["states"], tf.float32), 0.0)
    if term.loss == "hidden_mse":
        return losses.hidden_mse_values(states, target)
    return losses.hidden_cosine_values(states, target)


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
