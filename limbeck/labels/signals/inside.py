"""Declarations of signals stored as they are: `qkv`, `attention` and `task`."""

# S token slots, H heads, C outputs of a task head

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.labels.signals.base import (
    Group,
    LabelDims,
    Source,
    check_choice,
    check_layer,
    check_signal,
    num_slots,
    record_fields,
)
from limbeck.records.layout import Field, Layout

__all__ = ["AttentionSignal", "QkvSignal", "TaskSignal"]


@dataclass(frozen=True, kw_only=True)
class QkvSignal:
    """A layer's queries, keys and values, heads side by side, before any rotation."""

    kind: Literal["qkv"] = "qkv"
    """What tells the signals apart in a recipe or manifest."""
    layer: int
    """Which layer, from 1."""
    positions: Literal["all"] = "all"
    """Where: every real token."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""
    codec: Literal["int8", "float16", "float32"] = "int8"
    """How each of the three is stored; int8 has a float32 scale each."""

    def __post_init__(self) -> None:
        check_signal(self, kind="qkv", allowed=("all",))
        check_layer(self.layer, least=1)
        check_choice("codec", self.codec, ("int8", "float16", "float32"))

    @property
    def source(self) -> Source:
        """The queries, keys and values of the layer."""
        return Source(kind="qkv", layer=self.layer)

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.inside`."""
        slots = num_slots(self.positions, dims)
        widths = {"queries": dims.query_dim, "keys": dims.key_dim, "values": dims.key_dim}
        fields = [
            *record_fields(),
            *(Field(name, self.codec, (slots, width)) for name, width in widths.items()),
        ]
        if self.codec == "int8":
            fields += [Field(f"{name}_scales", "float32", (slots,)) for name in widths]
        return Layout(fields=tuple(fields))


@dataclass(frozen=True, kw_only=True)
class AttentionSignal:
    """A layer's attention probabilities, every head."""

    kind: Literal["attention"] = "attention"
    """What tells the signals apart in a recipe or manifest."""
    layer: int
    """Which layer, from 1."""
    positions: Literal["all"] = "all"
    """Where: the rows of every real token."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""
    codec: Literal["float16", "float32"] = "float16"
    """How a probability is stored."""

    def __post_init__(self) -> None:
        check_signal(self, kind="attention", allowed=("all",))
        check_layer(self.layer, least=1)
        check_choice("codec", self.codec, ("float16", "float32"))

    @property
    def source(self) -> Source:
        """The probabilities of the layer."""
        return Source(kind="attention", layer=self.layer)

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.inside`."""
        slots = num_slots(self.positions, dims)
        shape = (slots, dims.num_heads, dims.seq_length)
        return Layout(fields=(*record_fields(), Field("probabilities", self.codec, shape)))


@dataclass(frozen=True, kw_only=True)
class TaskSignal:
    """Logits of a task head: of a sequence (`first`) or of every token (`all`)."""

    source: ClassVar[Source] = Source(kind="task")

    kind: Literal["task"] = "task"
    """What tells the signals apart in a recipe or manifest."""
    positions: Group = "first"
    """first: one answer a record, as of a classifier. all: one a token, as tags and spans are."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""

    def __post_init__(self) -> None:
        check_signal(self, kind="task", allowed=("first", "all"))

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and float32 `logits` (slots, C)."""
        slots = num_slots(self.positions, dims)
        logits = Field("logits", "float32", (slots, dims.num_labels))
        return Layout(fields=(*record_fields(), logits))
