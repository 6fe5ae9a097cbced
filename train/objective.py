"""The scalar that is differentiated: a sum of terms, each over its own global count.

    L = sum_j  w_j(x) tau_j^2  S_j / N_j

S_j sums term j over the entries of this rank's micro-batch, N_j counts its entries in the whole
global batch, over all ranks and micro-batches. N_j comes from the labels before any forward pass,
so gradients are only summed afterwards, never divided, and any cut of the batch gives the same
gradient. N_j = 0 makes the term exactly 0. w_j may change over the run, of which a share x is done;
where a term gives each entry a temperature of its own, tau^2 stands inside its values instead.

Labels of the unmasked input beside masks made while training: terms on families then look at a pass
over the unmasked input (the view `unmasked`), all others at one over what is fed (`fed`).
"""

# J terms, Q entries of a list

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

import train.losses  # noqa: F401  ties formulas to the terms that come with Limbeck
from limbeck.config.errors import UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import SparseSignal, TaskSignal
from train import formula
from train.formula import BoundTerm, Given, Outputs, Projection, formula_of
from train.reading.batch import MicroBatch
from train.recipe import ProjectionPlan, StudentFacts, Term, term_names

__all__ = ["Asked", "BoundTerm", "Objective", "Outputs", "View", "bind"]

View = Literal["fed", "unmasked"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the terms of one view look at, all together; layers rising."""

    groups: tuple[str, ...] = ()
    """Groups of positions at which vocabulary logits are wanted."""
    hidden: tuple[int, ...] = ()
    """Layers whose states."""
    attentions: tuple[int, ...] = ()
    """Layers whose attention probabilities."""
    scores: tuple[int, ...] = ()
    """Layers whose attention scores."""
    qkv: tuple[int, ...] = ()
    """Layers whose queries, keys and values."""
    pooled: bool = False
    """The pooler's output."""
    heads: tuple[str, ...] = ()
    """Task heads."""

    @property
    def nothing(self) -> bool:
        """Whether no term looks at this view."""
        return self == Asked()


@dataclass(frozen=True)
class Objective:
    """The terms in the recipe's order."""

    terms: tuple[BoundTerm, ...]
    """At least one."""

    global_batch: int = 0
    """B: rows of a global batch, at most."""

    @property
    def names(self) -> tuple[str, ...]:
        """The J names, in order."""
        return tuple(bound.name for bound in self.terms)

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists of a batch that any term needs."""
        lists = dict.fromkeys(bound.list for bound in self.terms)
        lists |= dict.fromkeys(bound.taught for bound in self.terms if bound.taught)
        # The lists at whose entries the student's logits are computed.
        lists |= dict.fromkeys(formula.base_group(b.list) for b in self.terms if b.wants.logits)
        return tuple(lists)

    @property
    def has_batch_terms(self) -> bool:
        """Whether any term needs statistics of the global batch."""
        return any(bound.term.reach == "batch" for bound in self.terms)

    def asked(self, view: View, *, split: bool = True) -> Asked:
        """What the terms of a view look at.

        Args:
          view: which.
          split: whether there are two; False: all terms look at `fed`.
        """
        mine = [b for b in self.terms if (_view(b.term) if split else "fed") == view]
        layers = {
            name: tuple(sorted({layer for b in mine for layer in getattr(b.wants, name)}))
            for name in ("hidden", "attentions", "scores", "qkv")
        }
        heads = [b.wants.head for b in mine if b.wants.head is not None]
        return Asked(
            groups=tuple(dict.fromkeys(formula.base_group(b.list) for b in mine if b.wants.logits)),
            pooled=any(b.wants.pooled for b in mine),
            heads=tuple(dict.fromkeys(heads)),
            **layers,
        )

    def counts(self, items: Mapping[str, int]) -> np.ndarray:
        """(J,) int64: this rank's part of each N_j, from the counts of its batch."""
        return np.array([items[bound.count] for bound in self.terms], np.int64)

    def factors(self, counts: np.ndarray, *, x: float = 0.0) -> np.ndarray:
        """(J,) float32 w_j(x) tau_j^2 / N_j from the global counts; exactly 0 where N_j is 0."""
        scales = np.array([bound.term.scale_at(x) for bound in self.terms], np.float64)
        return np.where(counts > 0, scales / np.maximum(counts, 1), 0.0).astype(np.float32)

    def sums(
        self,
        outputs: Mapping[View, Outputs],
        batch: MicroBatch,
        projections: Mapping[str, Projection],
        settled: Sequence[tf.Tensor] = (),
    ) -> tf.Tensor:
        """(J,) float32 S_j of a micro-batch, before weights, tau^2 and counts.

        Args:
          outputs: the student's, by view.
          batch: the micro-batch as tensors.
          projections: by name.
          settled: of the terms of reach `batch`, in their order.
        """
        waiting = iter(settled)
        sums = []
        for bound in self.terms:
            given = self._given(bound, outputs, batch, projections)
            if bound.term.reach == "batch":
                given = dataclasses.replace(given, settled=next(waiting))
            values = formula_of(bound.term)(given)
            # Entries that only fill the list leave by `where`: 0 * NaN would be NaN.
            sums.append(tf.reduce_sum(tf.where(given.summed, values, 0.0)))
        return tf.stack(sums)

    def statistics(
        self,
        outputs: Mapping[View, Outputs],
        batch: MicroBatch,
        projections: Mapping[str, Projection],
    ) -> list[tf.Tensor]:
        """What the terms of reach `batch` add up over micro-batches and ranks, in their order."""
        return [
            formula.statistics(self._given(bound, outputs, batch, projections))
            for bound in self.terms
            if bound.term.reach == "batch"
        ]

    def settle(self, totals: Sequence[np.ndarray], counts: np.ndarray) -> list[np.ndarray]:
        """What these terms make of the sums; `counts` (J,) are global."""
        waiting = iter(totals)
        return [
            formula.settle(bound, next(waiting), count=int(count))
            for bound, count in zip(self.terms, counts, strict=True)
            if bound.term.reach == "batch"
        ]

    def _given(
        self,
        bound: BoundTerm,
        outputs: Mapping[View, Outputs],
        batch: MicroBatch,
        projections: Mapping[str, Projection],
    ) -> Given:
        view = _view(bound.term)
        return Given(
            bound=bound,
            outputs=outputs[view] if view in outputs else outputs["fed"],
            batch=batch,
            projections=[projections[name] for name in bound.projections],
            global_batch=self.global_batch,
        )


def bind(
    terms: Sequence[Term],
    families: Mapping[str, Any],
    student: StudentFacts | None = None,
    *,
    global_batch: int = 0,
) -> Objective:
    """Resolves terms that have been checked against opened families (`train.reading.families`).

    Args:
      terms: of the recipe.
      families: by the names that the terms use.
      student: facts; needed where terms train projections.
      global_batch: B.
    """
    bound: list[BoundTerm] = []
    for index, (term, name) in enumerate(zip(terms, term_names(terms), strict=True)):
        term = term if student is None else term.settled(student)
        own = [families[signal] for signal in term.signals]
        plans: tuple[ProjectionPlan, ...] = ()
        if student is not None:
            plans = term.projections(own, student, name=f"{index}_{name}")
        bound.append(
            BoundTerm(
                term=term,
                name=name,
                list=term.list_name(own),
                taught=own[0].list_name if own else "",
                wants=term.wants(own),
                fitted=tuple(_fitted(family) for family in own),
                projections=tuple(plan.name for plan in plans),
            )
        )
    return Objective(tuple(bound), global_batch=global_batch)


def check_formulas(terms: Sequence[Term], student: StudentFacts) -> None:
    """Refuses terms without a formula, and batch losses that do not gather the global batch.

    Raises:
      UsageError: begins with the path of the term.
    """
    for index, term in enumerate(terms):
        try:
            formula_of(term.settled(student))
        except ValueError as error:
            raise UsageError(f"objective[{index}].loss: {error}") from error


def _fitted(family: Any) -> Fitted:
    """How a family is encoded; some leave nothing open, so that no live teacher is loaded."""
    if isinstance(family.signal, SparseSignal | TaskSignal):
        return Fitted(signal=family.signal)
    fitted: Fitted = family.fitted
    return fitted


def _view(term: Term) -> View:
    return "unmasked" if term.signals else "fed"
