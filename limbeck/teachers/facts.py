"""What is known of a teacher without running it, and which signals it can give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from limbeck.config.errors import UsageError
from limbeck.labels.signals import Group, LabelDims, Signal, SparseSignal, TaskSignal

__all__ = ["Backend", "TeacherFacts"]

Backend = Literal["keras", "pytorch", "onnx"]
_LAYERED = ("hidden", "relations", "qkv", "attention")


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """What is known of a teacher; equal for every backend but `backend` and what it cannot give."""

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
    predicts: Literal["masked", "next"] | None = None
    """What its logits at a position are of: the token there, or the one after it."""
    final_dim: int = 0
    """Width of what the decoder matrix multiplies; 0 where that is not known."""
    num_heads: int = 0
    """Attention heads of a layer; 0 where that is not known."""
    query_dim: int = 0
    """Width of a layer's queries, heads side by side; 0 where that is not known."""
    key_dim: int = 0
    """Width of a layer's keys and of its values; 0 where that is not known."""
    causal: bool | None = None
    """Whether a token sees only itself and what is before it; None where that is not known."""
    num_labels: int = 0
    """Outputs of its task head; 0 where it has none."""
    task_positions: Group | None = None
    """first: the task head gives one answer a record; all: one a token."""
    why_no_logits: str | None = None
    """Why it gives no vocabulary logits, behind its name; None where it does. So the others:"""
    why_no_final: str | None = None
    """Why not what its decoder matrix multiplies, and that matrix."""
    why_no_relations: str | None = None
    """Why not the inputs of its Q, K, V projections, and these."""
    why_no_qkv: str | None = None
    """Why not its queries, keys and values."""
    why_no_attention: str | None = None
    """Why not its attention probabilities."""
    why_no_task: str | None = None
    """Why not the logits of a task."""
    hidden_layers: frozenset[int] | None = None
    """Layers whose states it can give; None for all, 0 to L."""
    attention_layers: frozenset[int] | None = None
    """Layers whose attention it can give; None for all, 1 to L."""

    def dims(self, *, seq_length: int, max_predictions: int | None) -> LabelDims:
        """Sizes of labels of this teacher for examples of these sizes."""
        return LabelDims(
            seq_length=seq_length,
            max_predictions=max_predictions,
            vocab_size=self.vocab_size,
            hidden_dim=self.hidden_dim,
            final_dim=self.final_dim,
            num_heads=self.num_heads,
            query_dim=self.query_dim,
            key_dim=self.key_dim,
            num_labels=self.num_labels,
        )

    def check(self, wanted: Mapping[str, Signal]) -> None:
        """Refuses signals that this teacher cannot give.

        Raises:
          UsageError: no head for it, k above its vocabulary, a layer it does not have, masked
            positions of a model that predicts what comes next; names the family.
        """
        for name, signal in wanted.items():
            self._check_kind(name, signal)
            if signal.source.kind in _LAYERED:
                self._check_layer(name, signal)
            elif isinstance(signal, TaskSignal):
                self._check_task(name, signal)
            else:
                self._check_vocabulary(name, signal)

    def _check_kind(self, name: str, signal: Signal) -> None:
        kind = signal.source.kind
        why = None if kind == "hidden" else getattr(self, f"why_no_{kind}")
        if why is not None:
            needs = _NEEDS[kind]
            raise UsageError(
                f"families.{name}: a signal of kind {signal.kind} needs {needs}, but {self.where} "
                f"{why}; keep hidden signals of it, or take another teacher"
            )

    def _check_vocabulary(self, name: str, signal: Signal) -> None:
        if self.predicts == "next" and signal.positions == "masked":
            raise UsageError(
                f"families.{name}: positions is masked, but {self.where} predicts what comes next; "
                "take positions: all"
            )
        k = signal.k if isinstance(signal, SparseSignal) else None
        if k is not None and k > self.vocab_size:
            raise UsageError(
                f"families.{name}: k is {k}, but the teacher's vocabulary has {self.vocab_size} ids"
            )

    def _check_task(self, name: str, signal: TaskSignal) -> None:
        if self.task_positions not in (None, signal.positions):
            raise UsageError(
                f"families.{name}: positions is {signal.positions}, but the task head of "
                f"{self.where} answers for {_ANSWERS[self.task_positions]}; "
                f"take positions: {self.task_positions}"
            )

    def _check_layer(self, name: str, signal: Signal) -> None:
        layer, kind = signal.source.layer or 0, signal.source.kind
        if layer > self.num_layers:
            first = "0 (embeddings)" if kind == "hidden" else "1"
            raise UsageError(
                f"families.{name}: layer is {layer}, but the teacher has layers {first} to "
                f"{self.num_layers}"
            )
        given = {"hidden": self.hidden_layers, "attention": self.attention_layers}.get(kind)
        if given is not None and layer not in given:
            what = "the states" if kind == "hidden" else "the attention"
            there = ", ".join(map(str, sorted(given))) or "none"
            raise UsageError(
                f"families.{name}: layer is {layer}, but {self.where} gives {what} of these layers "
                f"only: {there}; export it again with all of them"
            )


_NEEDS = {
    "logits": "a language-model head",
    "final": "a language-model head and its decoder matrix",
    "relations": "the Q, K and V projections of a layer",
    "qkv": "queries, keys and values",
    "attention": "attention probabilities",
    "task": "the head of a task",
}
_ANSWERS = {"first": "a whole record", "all": "every token", "masked": "masked positions"}
