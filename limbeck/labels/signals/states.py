"""Declarations of stored states: `hidden`, `final` and `relations`.

`limbeck.labels.states` says how a state is encoded; `limbeck.labels.final` and
`limbeck.labels.relations` what is rebuilt from them.
"""

# D width of a state, R components of a basis, O outlier channels

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.config.errors import LimbeckError
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

__all__ = ["FinalSignal", "HiddenSignal", "RelationsSignal", "StateCodec"]

StateCodec = Literal["auto", "int8", "bfloat16", "float16", "float32"]
"""How a state is stored. int8 has a float32 scale a position, and keeps 2 or 8 channels of large
values in float16 where the gate asks for it; auto tries int8, int8 with such channels, bfloat16 and
float32, on the first positions of the examples, and takes the first that passes its gate."""

_CODECS = ("auto", "int8", "bfloat16", "float16", "float32")
_DTYPES = {"int8": "int8", "bfloat16": "uint16", "float16": "float16", "float32": "float32"}


@dataclass(frozen=True, kw_only=True)
class HiddenSignal:
    """The states that leave one layer: 0 is the embeddings, L what transformers numbers L."""

    kind: Literal["hidden"] = "hidden"
    """What tells the signals apart in a recipe or manifest."""
    layer: int
    """0 for the embeddings, else the 1-based layer, as in transformers' `hidden_states[layer]`."""
    positions: Group = "all"
    """Where: the masked positions, every real token, or the first token only."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""
    codec: StateCodec = "float16"
    """How a state is stored; one that overflows is refused, never clipped."""
    basis: int | None = None
    """Components of a linear basis that is fitted on the first positions and kept beside the
    family; null stores every channel."""

    def __post_init__(self) -> None:
        check_signal(self, kind="hidden", allowed=("masked", "all", "first"))
        check_layer(self.layer, least=0)
        check_choice("codec", self.codec, _CODECS)
        _check_basis(self.basis)

    @property
    def source(self) -> Source:
        """The states of the layer."""
        return Source(kind="hidden", layer=self.layer)

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.states`."""
        return _layout(self, dims.hidden_dim, dims, chosen)


@dataclass(frozen=True, kw_only=True)
class FinalSignal:
    """What the head's decoder matrix multiplies: the full distribution, at any temperature."""

    source: ClassVar[Source] = Source(kind="final")

    kind: Literal["final"] = "final"
    """What tells the signals apart in a recipe or manifest."""
    positions: Group = "masked"
    """Where: the masked positions, every real token, or the first token only."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""
    codec: StateCodec = "auto"
    """How a state is stored."""

    def __post_init__(self) -> None:
        check_signal(self, kind="final", allowed=("masked", "all", "first"))
        check_choice("codec", self.codec, _CODECS)

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.states`."""
        return _layout(self, dims.final_dim, dims, chosen)


@dataclass(frozen=True, kw_only=True)
class RelationsSignal:
    """What a layer's Q, K and V projections multiply; relations of any kind are rebuilt from it."""

    kind: Literal["relations"] = "relations"
    """What tells the signals apart in a recipe or manifest."""
    layer: int
    """The layer whose projections they are, from 1."""
    positions: Literal["all"] = "all"
    """Where: a relation is between all tokens of a record."""
    records: float = 1.0
    """Fraction of the records that are labelled, chosen by their keys."""
    codec: StateCodec = "int8"
    """How a state is stored."""

    def __post_init__(self) -> None:
        check_signal(self, kind="relations", allowed=("all",))
        check_layer(self.layer, least=1)
        check_choice("codec", self.codec, _CODECS)

    @property
    def source(self) -> Source:
        """The input of the layer's projections."""
        return Source(kind="relations", layer=self.layer)

    def layout(self, dims: LabelDims, chosen: Mapping[str, Any] | None = None) -> Layout:
        """Fields of one record: `key`, `digest` and the arrays of `limbeck.labels.states`."""
        return _layout(self, dims.hidden_dim, dims, chosen)


def _layout(signal: Any, width: int, dims: LabelDims, chosen: Mapping[str, Any] | None) -> Layout:
    """States and what decodes them, by what the codec settled on (`chosen`)."""
    settled = {"codec": signal.codec, **(chosen or {})}
    codec, outliers = settled["codec"], len(settled.get("outliers", ()))
    if codec == "auto":
        raise ValueError("codec is auto; the layout is known once it has been fitted")
    slots = num_slots(signal.positions, dims)
    basis = getattr(signal, "basis", None)
    if basis and basis > width:
        raise LimbeckError(f"basis is {basis} components, but a state has {width}")
    fields: tuple[Field, ...] = (
        *record_fields(),
        Field(name="states", dtype=_DTYPES[codec], shape=(slots, basis or width)),
    )
    if codec == "int8":
        fields = (*fields, Field(name="scales", dtype="float32", shape=(slots,)))
    if outliers:
        fields = (*fields, Field(name="outliers", dtype="float16", shape=(slots, outliers)))
    return Layout(fields=fields)


def _check_basis(basis: object) -> None:
    if basis is None:
        return
    if isinstance(basis, bool) or not isinstance(basis, int) or basis < 1:
        raise ValueError(f"basis must be a positive integer or null, got {basis!r}")
