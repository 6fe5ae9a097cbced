"""What a term computes, and what it computes it from.

A formula is tied to the class of a term (`train.recipe.term`); it gets a `Given` and returns the
values of the term at the entries of its list. For example, a loss of one's own:

    @register
    @dataclass(frozen=True, kw_only=True)
    class HuberTerm(HiddenTerm):
        loss: Literal["huber"] = "huber"
        delta: float = 1.0

    @formula(HuberTerm)
    def huber(given: Given) -> tf.Tensor:
        difference = tf.abs(given.student_states() - given.teacher_states())
        ...
        return tf.reduce_mean(..., axis=-1)             # (Q,)

A formula of reach `batch` is a class with two more methods; see `BatchFormula`.
"""

# m rows, T tokens, Q entries of a list, V vocabulary, D width of a state, H heads

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from train.reading.batch import MicroBatch, base_group
from train.recipe.term import Term
from train.starting.bound import BoundTerm, Outputs, Projection

__all__ = [
    "BatchFormula",
    "BoundTerm",
    "Formula",
    "Given",
    "Outputs",
    "Projection",
    "formula",
    "formula_of",
    "settle",
    "statistics",
]


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that a formula may look at, of one micro-batch."""

    bound: BoundTerm
    """The term."""

    outputs: Outputs
    """The student's, of the input that the labels belong to."""

    batch: MicroBatch
    """The micro-batch as tensors."""

    projections: Sequence[Projection] = ()
    """The term's trained maps, in the order of its plans."""

    settled: Any = None
    """What `BatchFormula.settle` gave for the global batch."""

    global_batch: int = 0
    """B: rows of the global batch, at most."""

    @property
    def term(self) -> Any:
        """The term's settings."""
        return self.bound.term

    @property
    def items(self) -> Mapping[str, tf.Tensor]:
        """The entries of the term's list: `index` (Q,), `valid` (Q,)."""
        found: Mapping[str, tf.Tensor] = self.batch["items"][self.bound.list]
        return found

    @property
    def valid(self) -> tf.Tensor:
        """(Q,) bool: which entries are real."""
        return self.items["valid"]

    @property
    def rows(self) -> tf.Tensor:
        """(Q,) int32: row of the micro-batch that each entry is in."""
        return self.items["index"] // tf.shape(self.batch["ids"])[1]

    @property
    def summed(self) -> tf.Tensor:
        """(Q,) bool: entries whose values add up; of a term that counts rows, the first of each.

        A value of a whole row may thus stand at all its entries.
        """
        if self.term.counted != "rows":
            return self.valid
        before = tf.concat([[-1], self.rows[:-1]], axis=0)
        return self.valid & tf.not_equal(self.rows, before)

    @property
    def labels(self) -> tf.Tensor:
        """(Q, ...) what the examples say of the entries; any where not valid."""
        labels = self.batch["labels"]
        if self.bound.list in labels:
            return labels[self.bound.list]
        return tf.gather(labels[base_group(self.bound.list)], self.items["entry"])

    def teacher(self, number: int = 0) -> Mapping[str, tf.Tensor]:
        """Fields (Q, ...) of a family of the term; anything may stand at entries not valid."""
        found: Mapping[str, tf.Tensor] = self.batch["teacher"][self.term.signals[number]]
        if self.bound.taught in ("", self.bound.list):
            return found
        return {name: tf.gather(values, self.items["entry"]) for name, values in found.items()}

    def clean(self, values: tf.Tensor) -> tf.Tensor:
        """(Q, ...) float32, with 0 at entries that are not valid: the gradient at NaN is NaN."""
        shape = [-1] + [1] * (len(values.shape) - 1)
        return tf.where(tf.reshape(self.valid, shape), tf.cast(values, tf.float32), 0.0)

    def logits(self) -> tf.Tensor:
        """(Q, V) float32 of the student's vocabulary."""
        group = base_group(self.bound.list)
        logits = self.outputs.logits[group]
        return logits if group == self.bound.list else tf.gather(logits, self.items["entry"])

    def head_logits(self) -> tf.Tensor:
        """(Q, C) float32 of the term's task head, at the rows or tokens of the entries."""
        head = self.bound.wants.head
        assert head is not None  # the term says which
        logits = self.outputs.heads[head]
        if len(logits.shape) == 2:  # one answer a row
            return tf.gather(logits, self.rows)
        return self.at_entries(logits)

    def at_entries(self, per_token: tf.Tensor) -> tf.Tensor:
        """(m, T, ...) -> (Q, ...): what stands at the entries' tokens."""
        flat = tf.reshape(per_token, tf.concat([[-1], tf.shape(per_token)[2:]], 0))
        flat = tf.ensure_shape(flat, [None, *per_token.shape[2:]])
        return tf.gather(flat, self.items["index"])

    def on_grid(self, values: tf.Tensor) -> tf.Tensor:
        """(Q, ...) -> (m, T, ...) float32: entries at their tokens, 0 elsewhere."""
        values = self.clean(values)
        rows, tokens = tf.unstack(tf.shape(self.batch["ids"]))
        shape = tf.concat([[rows * tokens], tf.shape(values)[1:]], 0)
        # Entries that only fill the list point at token 0 of row 0 and add 0 there.
        flat = tf.scatter_nd(self.items["index"][:, None], values, shape)
        grid = tf.reshape(flat, tf.concat([[rows, tokens], tf.shape(values)[1:]], 0))
        return tf.ensure_shape(grid, [None, None, *values.shape[1:]])

    def student_states(self, layer: int | None = None, *, projection: int | None = 0) -> tf.Tensor:
        """(Q, D) states of a layer at the entries, through one of the term's maps where it has any.

        Args:
          layer: of the student; None for the term's only one.
          projection: which of the term's maps; None for none.
        """
        number = self.term.student_layers[0] if layer is None else layer
        states = self.at_entries(self.outputs.hidden[number])
        if projection is not None and self.projections:
            states = self.projections[projection](states)
        return states

    def teacher_states(self, number: int = 0) -> tf.Tensor:
        """(Q, D) float32 states of a hidden family, 0 at entries that are not valid."""
        return self.clean(self.teacher(number)["states"])


Formula = Callable[[Given], tf.Tensor]
"""The values (Q,) of a term; what stands at entries that are not valid is finite."""


class BatchFormula(Protocol):
    """A formula whose values need statistics of the global batch.

    A step first adds up `statistics` over micro-batches and ranks, then gives every rank the same
    `settle` of the sums, and only then takes gradients: none flow through what was settled.
    """

    def __call__(self, given: Given) -> tf.Tensor:
        """The values (Q,), with `given.settled`."""

    def statistics(self, given: Given) -> tf.Tensor:
        """Float32 of a static shape; sums over micro-batches and ranks."""

    def settle(self, total: np.ndarray, *, count: int, bound: BoundTerm) -> np.ndarray:
        """Float32 of a static shape, from the sums and the term's global count."""


F = TypeVar("F")
_formulas: dict[type[Term], Any] = {}


def formula(cls: type[Term]) -> Callable[[F], F]:
    """Ties a formula to a class of terms: a function, or an instance of a `BatchFormula`."""

    def tie(function: F) -> F:
        _formulas[cls] = function
        return function

    return tie


def formula_of(term: Term) -> Any:
    """The formula of a term.

    Raises:
      ValueError: none is tied to its class, or one of another reach.
    """
    # No for with else: AutoGraph, under which this runs in a step, does not know it.
    cls = next((cls for cls in type(term).__mro__ if cls in _formulas), None)
    if cls is None:
        raise ValueError(f"loss {term.loss}: no formula is tied to {type(term).__name__}")
    found = _formulas[cls]
    gathers = hasattr(found, "statistics") and hasattr(found, "settle")
    if term.reach == "batch" and not gathers:
        raise ValueError(
            f"loss {term.loss}: its reach is batch, but the formula tied to {cls.__name__} is no "
            "BatchFormula: it has no statistics and settle"
        )
    return found


def statistics(given: Given) -> tf.Tensor:
    """What a term of reach `batch` adds up over the global batch."""
    return formula_of(given.bound.term).statistics(given)


def settle(bound: BoundTerm, total: np.ndarray, *, count: int) -> np.ndarray:
    """What such a term makes of the sums."""
    settled: np.ndarray = formula_of(bound.term).settle(total, count=count, bound=bound)
    return settled
