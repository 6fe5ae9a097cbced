"""What extraction asks of a teacher, whatever framework it runs in. NumPy in, NumPy out."""

# B rows, T tokens, P slots for masked positions

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, Signal, SparseSignal

__all__ = ["Answers", "Backend", "Teacher", "TeacherBatch", "TeacherFacts"]

Backend = Literal["keras", "pytorch", "onnx"]
Answers = dict[str, dict[str, np.ndarray]]


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


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """What is known of a teacher without running it; equal for every backend but `backend`."""

    backend: Backend
    """What it runs in."""
    where: str
    """Its folder or file, for messages."""
    folder: str
    """Where its config is, and its tokenizer if it has one."""
    fingerprint: str
    """Hex digits that name its shape and weights (an ONNX teacher's: its files)."""
    vocab_size: int
    """Number of ids it reads, and predicts where it has a head."""
    num_layers: int
    """L: layers behind the embeddings."""
    hidden_dim: int
    """Width of the states."""
    max_positions: int
    """Longest input, in tokens."""
    why_no_logits: str | None = None
    """Why it cannot say what stood at a masked position; None where it can."""
    hidden_layers: frozenset[int] | None = None
    """Layers whose states it can give; None for all, 0 to L."""

    def check(self, wanted: Mapping[str, Signal]) -> None:
        """Refuses signals that this teacher cannot give.

        Raises:
          UsageError: no masked-LM head, k above its vocabulary, or a layer it does not have;
            names the family.
        """
        for name, signal in wanted.items():
            if isinstance(signal, SparseSignal):
                self._check_sparse(name, signal)
            else:
                self._check_hidden(name, signal)

    def _check_sparse(self, name: str, signal: SparseSignal) -> None:
        if self.why_no_logits is not None:
            raise UsageError(
                f"families.{name}: a sparse signal needs a masked-LM head, but {self.where} "
                f"{self.why_no_logits}; keep hidden signals of it, or take a masked LM"
            )
        if signal.k > self.vocab_size:
            raise UsageError(
                f"families.{name}: k is {signal.k}, but the teacher's vocabulary has "
                f"{self.vocab_size} ids"
            )

    def _check_hidden(self, name: str, signal: HiddenSignal) -> None:
        if signal.layer > self.num_layers:
            raise UsageError(
                f"families.{name}: layer is {signal.layer}, but the teacher has layers 0 "
                f"(embeddings) to {self.num_layers}"
            )
        if self.hidden_layers is not None and signal.layer not in self.hidden_layers:
            there = ", ".join(map(str, sorted(self.hidden_layers))) or "none"
            raise UsageError(
                f"families.{name}: layer is {signal.layer}, but {self.where} gives the states of "
                f"these layers only: {there}; export it again with all hidden states"
            )


class Teacher(Protocol):
    """A frozen model that answers with signals."""

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""

    @property
    def device(self) -> str:
        """What it runs on, in words, for the provenance of its labels."""

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes every wanted signal in one forward pass.

        Args:
          batch: the rows.
          wanted: family name -> signal, of those that `TeacherFacts.check` lets pass.

        Returns:
          Family name -> the arrays of the signal's layout, without `key`, `digest` and
          `num_positions`: (B, P, ...) at masked positions, zero in unused slots; (B, T, ...) at
          all tokens, whatever at padding; (B, 1, ...) at the first. A logit that is not finite
          shows as a NaN `zmax`, a state that its dtype cannot hold as an infinity; who keeps the
          answers refuses them.
        """
