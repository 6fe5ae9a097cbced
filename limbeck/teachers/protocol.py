"""What extraction asks of a teacher, whatever framework it runs in. NumPy in, NumPy out."""

# B rows, T tokens, M chosen positions of all rows together, V vocabulary, D hidden

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import Group, Signal
from limbeck.teachers.facts import Backend, TeacherFacts

__all__ = [
    "Answers",
    "Backend",
    "Items",
    "LoadOptions",
    "Precision",
    "Side",
    "Teacher",
    "TeacherBatch",
    "TeacherFacts",
    "TeacherOutOfMemory",
]

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Answers = dict[str, dict[str, np.ndarray]]


class TeacherOutOfMemory(LimbeckError):
    """A batch does not fit the memory of the device; a smaller one may."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a teacher computes; all of it may decide last bits."""

    threads: int = 0
    """CPU threads; 0 leaves the choice to the framework."""
    precision: Precision = "float32"
    """Of matrix products; weights and what leaves the teacher are float32 in all."""
    jit: bool = False
    """Whether the forward pass is compiled (XLA, torch.compile): every shape once, for minutes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Items:
    """Chosen positions of a batch, of real rows only."""

    index: np.ndarray
    """(M,) int32: which of the batch's B * T tokens each is, ascending."""
    true_ids: np.ndarray
    """(M,) int32: the ids that truly stand there; 0 where nobody knows."""
    draws: np.ndarray | None = None
    """(M, 2) int32 random words, see `limbeck.labels.draws`; None where no signal draws."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherBatch:
    """Rows of one static shape, padded at their ends; all arrays are int32."""

    ids: np.ndarray
    """(B, T) token ids."""
    segment_ids: np.ndarray
    """(B, T)."""
    attention_mask: np.ndarray
    """(B, T), 1 where a token is real."""
    items: Mapping[Group, Items] = field(default_factory=dict)
    """Where answers are wanted; those of every group that a wanted signal is of."""


class Teacher(Protocol):
    """A frozen model that answers with signals."""

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""

    @property
    def device(self) -> str:
        """What it runs on, in words, for the provenance of its labels."""

    def side(self, signal: Signal) -> Side:
        """What a family of this signal keeps of the teacher."""

    def raw(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes the tensors themselves, in one forward pass.

        Args:
          batch: the rows.
          wanted: family name -> signal, of those that `TeacherFacts.check` lets pass.

        Returns:
          Family name -> {name: (M, ...) float32} at the items of the signal's group; names as
          `signal.source.arrays` says.

        Raises:
          TeacherOutOfMemory: the batch is too large for the device.
        """

    def bare(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> None:
        """Computes what `raw` gives and fetches a number of it: what `signals` is measured by."""

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Fitted]) -> Answers:
        """Computes every wanted signal in one forward pass; only what is stored leaves the device.

        Args:
          batch: the rows.
          wanted: family name -> signal and what was settled for it.

        Returns:
          Family name -> the encoded arrays (M, ...) at the items of the signal's group, as
          `limbeck.labels.codecs.encode` gives them. What no codec can hold is marked there (see
          `find_fault` of that module); who keeps the answers refuses it.

        Raises:
          TeacherOutOfMemory: the batch is too large for the device.
        """
