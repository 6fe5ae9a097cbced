"""Terms bound to the families they read, and what the student leaves for their formulas."""

# m rows, T tokens, Q entries of a list, V vocabulary, D width of a state, H heads, C outputs

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import tensorflow as tf

from limbeck.labels.fitted import Fitted
from train.recipe.term import Term, Wants

__all__ = ["BoundTerm", "Outputs", "Projection"]

QKV = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a forward pass of the student leaves for the losses, as far as it was asked for."""

    logits: Mapping[str, Any] = field(default_factory=dict)
    """Group of positions -> (Q, V) float32 at its entries."""

    hidden: Mapping[int, Any] = field(default_factory=dict)
    """Layer -> (m, T, D) float32."""

    attentions: Mapping[int, Any] = field(default_factory=dict)
    """Layer -> (m, H, T, T) float32 probabilities, before dropout."""

    scores: Mapping[int, Any] = field(default_factory=dict)
    """Layer -> (m, H, T, T) float32 scaled scores, before masks and softmax."""

    qkv: Mapping[int, QKV] = field(default_factory=dict)
    """Layer -> queries (m, H, T, A), keys and values (m, K, T, A), before any rotation."""

    pooled: Any = None
    """(m, D) float32."""

    heads: Mapping[str, Any] = field(default_factory=dict)
    """Name of a task head -> its logits, float32: (m, C) of rows, (m, T, C) of tokens."""


class Projection(Protocol):
    """A trained map."""

    name: str
    """Before the names of its variables."""

    @property
    def variables(self) -> Mapping[str, Any]:
        """Its variables by name, in a fixed order."""

    def __call__(self, states: tf.Tensor) -> tf.Tensor:
        """(..., width of the student) -> (..., width of the teacher)."""


@dataclass(frozen=True, kw_only=True)
class BoundTerm:
    """A term of the recipe, resolved against the families it reads."""

    term: Term
    """As the recipe has it."""

    name: str
    """Unique in the objective: the loss, numbered where it occurs more than once."""

    list: str
    """Which list of a batch it sums over: of a group, or of a partial family."""

    taught: str = ""
    """The list that its families label: the same, or one that has it as a part; "" without any."""

    wants: Wants
    """What it looks at in the student."""

    fitted: tuple[Fitted, ...] = ()
    """How its families are encoded, in the order of `term.signals`."""

    projections: tuple[str, ...] = ()
    """Names of its trained maps."""

    @property
    def count(self) -> str:
        """Name of its count among those of a batch."""
        unit = self.term.counted
        return self.list if unit == "entries" else f"{self.list} {unit}"
