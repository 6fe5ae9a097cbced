"""Terms on self-attention relations. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import UsageError
from limbeck.labels.relations import RelationKind
from train.recipe.projection_kinds import check_map_name
from train.recipe.term import ProjectionPlan, StudentFacts, Term, Wants, register
from train.recipe.terms.attention_checks import (
    check_attending_layer,
    check_heads,
    check_kind,
    check_mask,
    check_scores,
)
from train.starting.attention_facts import AttentionFacts, student_facts

__all__ = ["MiniLMTerm", "RelationsTerm"]

_SAME_HEADS = "take loss: relations, whose heads are independent of these"


@register
@dataclass(frozen=True, kw_only=True)
class RelationsTerm(Term):
    """KL of the teacher's relations between tokens to the student's (MiniLMv2)."""

    loss: Literal["relations"] = "relations"
    """Name of the loss."""

    signal: str
    """Family of `data.labels` that it learns from: relations or qkv."""

    student_layer: int
    """Layer of the student whose queries, keys and values are compared, from 1; with `student:
    auxiliary` the layer whose states they are made from (0: the embeddings)."""

    relations: tuple[RelationKind, ...] = ("qq", "kk", "vv")
    """Which: queries with queries, and so on. Mean over them."""

    relation_heads: int | None = None
    """A: heads that each width is split into, whatever the attention heads are; must divide both
    models' widths. null, for qk alone: the attention heads."""

    student: Literal["layer", "auxiliary"] = "layer"
    """layer: the layer's own queries, keys and values. auxiliary: three trained maps of its states
    that belong to the run and are left behind when the student is exported."""

    auxiliary_dim: int | None = None
    """Width of the auxiliary queries, keys and values; null: the student's."""

    projection_name: str | None = None
    """Terms that give the same name share one auxiliary block; null: a block of its own."""

    def __post_init__(self) -> None:
        """Refuses relations that are none, and settings without effect."""
        super().__post_init__()
        if not self.relations or len(set(self.relations)) < len(self.relations):
            raise ValueError(f"relations is {list(self.relations)}; name each once, at least one")
        if self.relation_heads is None:
            if self.relations != ("qk",) or self.student == "auxiliary":
                raise ValueError("relation_heads is missing: into how many heads widths are split")
        elif self.relation_heads < 1:
            raise ValueError(f"relation_heads is {self.relation_heads}; it must be at least 1")
        check_map_name(self.projection_name)
        _check_number(self.student_layer, least=0 if self.student == "auxiliary" else 1)
        if self.student == "layer":
            for name in ("auxiliary_dim", "projection_name"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no effect: student is layer")
        elif self.auxiliary_dim is not None and self.auxiliary_dim < 1:
            raise ValueError(f"auxiliary_dim is {self.auxiliary_dim}; it must be at least 1")

    @property
    def signals(self) -> tuple[str, ...]:
        """The one."""
        return (self.signal,)

    @property
    def student_layers(self) -> tuple[int, ...]:
        """The one."""
        return (self.student_layer,)

    def wants(self, families: Sequence[Any]) -> Wants:
        """Queries, keys and values, or the states that they are made from."""
        if self.student == "auxiliary":
            return Wants(hidden=(self.student_layer,))
        return Wants(qkv=(self.student_layer,))

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals, layers that are not there, and heads that divide no width."""
        (family,) = families
        check_kind(family, ("relations", "qkv"), loss=self.loss, setting="signal")
        if self.student == "layer" or self.student_layer > student.architecture.num_layers:
            check_attending_layer(self.student_layer, student, setting="student_layer")
        own = student_facts(student.architecture)
        check_mask(family, own, setting="signal")
        if self.relation_heads is None:
            check_heads(family, own, setting="signal", way_out="set relation_heads")
            return
        if self.student == "auxiliary":
            width = self._auxiliary_dim(student)
            own = AttentionFacts(query_dim=width, key_dim=width)
        for kind in self.relations:
            self._check_split(kind, family.attention, whose=f"the teacher of {self.signal!r}")
            self._check_split(kind, own, whose="the student")

    def projections(
        self, families: Sequence[Any], student: StudentFacts, *, name: str
    ) -> tuple[ProjectionPlan, ...]:
        """Auxiliary queries, keys and values, where it has them."""
        if self.student == "layer":
            return ()
        return tuple(
            ProjectionPlan(
                name=f"{self.projection_name or name}/{part}",
                kind="linear",
                source_dim=student.architecture.hidden_dim,
                target_dim=self._auxiliary_dim(student),
            )
            for part in ("query", "key", "value")
        )

    def _auxiliary_dim(self, student: StudentFacts) -> int:
        return self.auxiliary_dim or student.architecture.hidden_dim

    def _check_split(self, kind: RelationKind, facts: AttentionFacts, *, whose: str) -> None:
        assert self.relation_heads is not None
        width = facts.width(kind[0])
        if width % self.relation_heads:
            names = {"q": "queries", "k": "keys", "v": "values"}
            raise UsageError(
                f"relation_heads is {self.relation_heads}, which does not divide {width}, the "
                f"width of the {names[kind[0]]} of {whose}"
            )
        if kind == "qk" and facts.key_dim != width and not facts.num_heads:
            raise UsageError(
                f"relations: {whose} shares keys among its heads, and it is not known among how "
                "many; leave qk out"
            )


@register
@dataclass(frozen=True, kw_only=True)
class MiniLMTerm(Term):
    """KL of attention distributions plus KL of value relations, with the attention heads."""

    loss: Literal["minilm_v1"] = "minilm_v1"
    """Name of the loss."""

    signal: str
    """Family of `data.labels` that it learns from: relations or qkv; MiniLM's is of the last
    layer."""

    attention_signal: str | None = None
    """Attention family that the distributions come from; null: they are rebuilt from `signal`."""

    student_layer: int
    """Layer of the student that is compared, from 1; the last one in MiniLM."""

    def __post_init__(self) -> None:
        """Refuses a layer that is none."""
        super().__post_init__()
        _check_number(self.student_layer, least=1)

    @property
    def signals(self) -> tuple[str, ...]:
        """The family of the values, then that of the distributions where it is another."""
        return (self.signal,) + ((self.attention_signal,) if self.attention_signal else ())

    @property
    def student_layers(self) -> tuple[int, ...]:
        """The one."""
        return (self.student_layer,)

    def wants(self, families: Sequence[Any]) -> Wants:
        """Scores and values."""
        return Wants(scores=(self.student_layer,), qkv=(self.student_layer,))

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals, layers that are not there, unlike heads and masks."""
        named = {"loss": self.loss, "setting": "signal"}
        own = student_facts(student.architecture)
        check_kind(families[0], ("relations", "qkv"), **named)
        check_attending_layer(self.student_layer, student, setting="student_layer")
        if self.attention_signal is None:
            way_out = "; or name an attention family as attention_signal"
            check_scores(families[0], **named, way_out=way_out)
            check_heads(families[0], own, setting="signal", way_out=_SAME_HEADS)
        else:
            self._check_attention(families, own)
        check_mask(families[0], own, setting="signal")
        theirs = families[0].attention
        shared = theirs.key_dim * own.num_heads // theirs.query_dim
        if shared != own.num_kv_heads:
            raise UsageError(
                f"signal: the teacher of {self.signal!r} has {shared} heads of values and the "
                f"student {own.num_kv_heads}; {_SAME_HEADS}"
            )

    def _check_attention(self, families: Sequence[Any], own: AttentionFacts) -> None:
        values, maps = families
        check_kind(maps, ("attention",), loss=self.loss, setting="attention_signal")
        check_mask(maps, own, setting="attention_signal")
        check_heads(maps, own, setting="attention_signal", way_out=_SAME_HEADS)
        if {values.list_name, maps.list_name} != {"all"}:
            raise UsageError(
                f"attention_signal: {self.signal!r} and {self.attention_signal!r} must both label "
                "every row; leave attention_signal out to learn from some rows only"
            )


def _check_number(layer: int, *, least: int) -> None:
    if layer < least:
        first = "0 is the embeddings" if least == 0 else "layers that attend are from 1"
        raise ValueError(f"student_layer is {layer}; {first}")
