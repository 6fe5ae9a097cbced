"""What extraction asks of a teacher, whatever framework it runs in. NumPy in, NumPy out."""

# B rows, T tokens, P slots for masked positions

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from limbeck.architectures.bert import BertArchitecture
from limbeck.labels import Signal

__all__ = ["Teacher", "TeacherBatch", "TeacherFacts"]


@dataclass(frozen=True, kw_only=True)
class TeacherBatch:
    """Rows of one static shape; all arrays are int32."""

    ids: np.ndarray
    """(B, T) token ids, padded."""
    segment_ids: np.ndarray
    """(B, T)."""
    attention_mask: np.ndarray
    """(B, T), 1 where a token is real."""
    positions: np.ndarray
    """(B, P) masked positions, ascending, padded with 0."""
    true_ids: np.ndarray
    """(B, P) the ids that were masked, padded with 0."""

    @property
    def used_slots(self) -> np.ndarray:
        """(B, P) bool: slots that may hold a position; a teacher skips the others.

        Positions ascend, so a 0 behind the first slot is padding. In the first slot it may be
        either; the caller knows.
        """
        used = self.positions > 0
        used[:, :1] = True
        return used


class TeacherFacts(Protocol):
    """What is known of a teacher without running it."""

    @property
    def architecture(self) -> BertArchitecture:
        """Its shape."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that name its shape and weights."""

    @property
    def vocab_size(self) -> int:
        """Number of ids it reads and predicts."""

    @property
    def max_positions(self) -> int:
        """Longest input, in tokens."""


class Teacher(TeacherFacts, Protocol):
    """A frozen model that answers with signals."""

    def signals(
        self, batch: TeacherBatch, wanted: Mapping[str, Signal]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Computes every wanted signal in one forward pass.

        Args:
          batch: the rows.
          wanted: family name -> signal.

        Returns:
          Family name -> the arrays of the signal's layout, without `key`, `digest` and
          `num_positions`: (B, P, ...) at masked positions, zero in unused slots; (B, T, ...) at
          all tokens, whatever at padding; (B, 1, ...) at the first.
        """
