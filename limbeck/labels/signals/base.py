"""What every signal declares: where in the teacher it is, at which positions, of which records."""

# S padded sequence length of a record, P slots for masked positions

import math
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.records.layout import DIGEST, KEY, Field

__all__ = [
    "Group",
    "LabelDims",
    "Source",
    "SourceKind",
    "check_choice",
    "check_layer",
    "check_signal",
    "num_slots",
    "record_fields",
]

Group = Literal["masked", "all", "first"]
"""Positions of a record: the masked ones, every real token, or the first token only."""

SourceKind = Literal["logits", "final", "hidden", "relations", "qkv", "attention", "task"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A tensor inside a teacher; several signals may be encoded from one."""

    kind: SourceKind
    """logits: of the language-model head. final: what the head's decoder matrix multiplies. hidden:
    states that leave a layer. relations: what a layer's Q, K, V projections multiply. qkv: what
    they give, before any rotation. attention: a layer's probabilities. task: logits of a task
    head."""
    layer: int | None = None
    """For hidden from 0 (embeddings); for relations, qkv and attention from 1; None for others."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the raw arrays, each (M, ...) float32 at M flat positions.

        logits (M, V) or task logits (M, C); states (M, D); queries, keys, values (M, width);
        probabilities (M, H, T) over the padded tokens of the batch.
        """
        match self.kind:
            case "logits" | "task":
                return ("logits",)
            case "qkv":
                return ("queries", "keys", "values")
            case "attention":
                return ("probabilities",)
        return ("states",)


@dataclass(frozen=True, kw_only=True)
class LabelDims:
    """Sizes that a layout of labels depends on: of the examples and of the teacher."""

    seq_length: int
    """S."""
    max_predictions: int | None
    """P; None where the examples have no masked positions."""
    vocab_size: int
    """Ids that the teacher predicts."""
    hidden_dim: int = 0
    """Width of its states."""
    final_dim: int = 0
    """Width of what the decoder matrix multiplies; 0 where the teacher has no such head."""
    num_heads: int = 0
    """Attention heads; 0 where the teacher does not show them."""
    query_dim: int = 0
    """Width of a layer's queries, heads side by side."""
    key_dim: int = 0
    """Width of its keys and of its values (narrower than queries where heads share them)."""
    num_labels: int = 0
    """Outputs of the task head; 0 where there is none."""


def num_slots(positions: Group, dims: LabelDims) -> int:
    """Padded number of labelled positions a record."""
    slots = {"masked": dims.max_predictions, "all": dims.seq_length, "first": 1}[positions]
    if slots is None:
        raise ValueError("positions is masked, but the examples have no masked positions")
    return slots


def record_fields() -> tuple[Field, Field, Field]:
    """The fields that every record of labels has."""
    return KEY, DIGEST, Field(name="num_positions", dtype="uint16", shape=())


def check_signal(signal: Any, *, kind: str, allowed: tuple[Group, ...]) -> None:
    """Refuses another kind, positions that the signal does not have, and a bad fraction."""
    check_choice("kind", signal.kind, (kind,))
    check_choice("positions", signal.positions, allowed)
    records = signal.records
    if isinstance(records, bool) or not (math.isfinite(records) and 0.0 < records <= 1.0):
        raise ValueError(f"records must be a fraction in (0, 1], got {records!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_layer(layer: object, *, least: int) -> None:
    """Refuses what is no number of a layer."""
    if isinstance(layer, bool) or not isinstance(layer, int) or layer < least:
        first = "0 (embeddings)" if least == 0 else "1"
        raise ValueError(f"layer must be an integer from {first}, got {layer!r}")
