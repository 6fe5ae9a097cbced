"""How a layer attends, as far as it is known before any model is loaded. No TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.architectures import DecoderArchitecture
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import AttentionSignal, QkvSignal, RelationsSignal
from limbeck.records.layout import Layout
from limbeck.teachers.facts import TeacherFacts

__all__ = ["AttentionFacts", "live_facts", "stored_facts", "student_facts"]


@dataclass(frozen=True, kw_only=True)
class AttentionFacts:
    """Widths, heads and mask of a layer; 0 and None where they are not known."""

    query_dim: int = 0
    """Width of the queries, heads side by side."""
    key_dim: int = 0
    """Width of the keys, and of the values."""
    num_heads: int = 0
    """Heads of queries."""
    num_kv_heads: int = 0
    """Heads of keys and values, each shared by num_heads / num_kv_heads heads of queries."""
    causal: bool | None = None
    """Whether a token sees only itself and what is before it."""
    gives_scores: bool = False
    """Whether scores follow from queries and keys: it is known how positions enter them."""

    @property
    def head_dim(self) -> int:
        """Components of a head."""
        return self.query_dim // self.num_heads if self.num_heads else 0

    def width(self, letter: str) -> int:
        """Width of the queries (q), keys (k) or values (v)."""
        return self.query_dim if letter == "q" else self.key_dim


def stored_facts(fitted: Fitted, layout: Layout) -> AttentionFacts:
    """Of the layer of a stored family, from its manifest; nothing for signals without one."""
    signal, said = fitted.signal, fitted.chosen
    causal = {"causal": True, "padding": False}.get(said.get("mask", ""))
    if isinstance(signal, AttentionSignal):
        heads = layout.field("probabilities").shape[1] or 0
        return AttentionFacts(num_heads=heads, num_kv_heads=heads, causal=causal)
    if isinstance(signal, RelationsSignal):
        widths = [fitted.tensors[f"{name}/kernel"].shape[1] for name in ("query", "key")]
    elif isinstance(signal, QkvSignal):
        widths = [layout.field(name).shape[1] or 0 for name in ("queries", "keys")]
    else:
        return AttentionFacts()
    return AttentionFacts(
        query_dim=widths[0],
        key_dim=widths[1],
        num_heads=_number(said, "num_heads"),
        num_kv_heads=_number(said, "num_kv_heads"),
        causal=causal,
        gives_scores="rotary" in said,
    )


def live_facts(facts: TeacherFacts) -> AttentionFacts:
    """Of a teacher that answers live; all its layers attend alike."""
    heads = facts.num_heads
    head_dim = facts.query_dim // heads if heads else 0
    return AttentionFacts(
        query_dim=facts.query_dim,
        key_dim=facts.key_dim,
        num_heads=heads,
        num_kv_heads=facts.key_dim // head_dim if head_dim else heads,
        causal=facts.causal,
        # What hinders both is that nobody knows how the family's positions enter the scores.
        gives_scores=facts.why_no_relations is None,
    )


def student_facts(architecture: Any) -> AttentionFacts:
    """Of a student's layers."""
    heads = architecture.num_heads
    shared = getattr(architecture, "num_kv_heads", heads)
    return AttentionFacts(
        query_dim=architecture.hidden_dim,
        key_dim=architecture.hidden_dim // heads * shared,
        num_heads=heads,
        num_kv_heads=shared,
        causal=isinstance(architecture, DecoderArchitecture),
        gives_scores=True,
    )


def _number(said: Mapping[str, Any], name: str) -> int:
    return int(said.get(name) or 0)
