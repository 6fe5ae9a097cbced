"""Terms on attention maps and scores. No TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import UsageError
from train.recipe.term import StudentFacts, Term, Unit, Wants, register
from train.recipe.terms.attention_checks import (
    check_attending_layer,
    check_heads,
    check_kind,
    check_mask,
    check_scores,
)
from train.starting.attention_facts import AttentionFacts, student_facts

__all__ = ["AttentionTerm"]

_COUNTED: dict[str, Unit] = {
    "attention_mse": "pairs",
    "attention_mse_sum": "pairs",
    "tinybert_attention": "rows",
    "attention_ce": "entries",
    "attention_ce_mean": "entries",
}
_ANY_HEADS = ("attention_mse_sum", "attention_ce_mean")
_ON_PROBABILITIES = "; or set on: probabilities"


@register
@dataclass(frozen=True, kw_only=True)
class AttentionTerm(Term):
    """Attention of layers of the student against that of layers of the teacher, head by head.

    One pair of layers, or several: the mean over the pairs. Padding never counts, neither as a
    query nor as a key.
    """

    loss: Literal[
        "attention_mse",
        "attention_mse_sum",
        "tinybert_attention",
        "attention_ce",
        "attention_ce_mean",
    ]
    """attention_mse: squared differences, mean over heads and over all pairs of tokens.
    attention_mse_sum: of the sums over heads. tinybert_attention: mean over heads and a row's
    pairs, then over rows. attention_ce: cross-entropy to the teacher's distribution, mean over
    heads and tokens. attention_ce_mean: scores are averaged over heads before."""

    signal: str | None = None
    """Family of `data.labels`: relations, qkv, or attention where probabilities are enough. Short
    for `signals` with one name."""

    student_layer: int | None = None
    """Layer of the student, from 1. Short for `student_layers` with one number."""

    signals: tuple[str, ...] = ()
    """Families, one a pair of layers."""

    student_layers: tuple[int, ...] = ()
    """Layers of the student, one a pair."""

    on: Literal["scores", "probabilities"] | None = None
    """What squared differences are of: scaled scores before masks and softmax (null: these), or
    probabilities."""

    def __post_init__(self) -> None:
        """Writes one pair as a list of one; refuses lists of unlike lengths."""
        super().__post_init__()
        self._take("signal", "signals")
        self._take("student_layer", "student_layers")
        if len(self.signals) != len(self.student_layers):
            raise ValueError(
                f"signals names {len(self.signals)} families and student_layers "
                f"{len(self.student_layers)} layers; give one layer for each family"
            )
        for layer in self.student_layers:
            if layer < 1:
                raise ValueError(f"student_layers has {layer}; layers that attend are from 1")
        if self.on is not None and _COUNTED[self.loss] == "entries":
            raise ValueError(f"on has no effect: {self.loss} compares distributions")

    def _take(self, one: str, several: str) -> None:
        value, values = getattr(self, one), getattr(self, several)
        if value is None and not values:
            raise ValueError(f"{one} is missing, or {several} for several pairs of layers")
        if value is not None and values not in ((), (value,)):
            raise ValueError(f"{several} has no effect beside {one}; give one of the two")
        if value is not None:
            object.__setattr__(self, several, (value,))

    @property
    def counted(self) -> Unit:
        """Pairs of tokens, tokens, or rows."""
        return _COUNTED[self.loss]

    @property
    def on_scores(self) -> bool:
        """Whether the teacher's scores are needed, not only its probabilities."""
        return self.loss != "attention_ce" and self.on != "probabilities"

    def wants(self, families: Sequence[Any]) -> Wants:
        """Probabilities where these are compared, else scores."""
        if self.on == "probabilities":
            return Wants(attentions=self.student_layers)
        return Wants(scores=self.student_layers)

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses other signals, layers that are not there, unlike heads and masks."""
        ours = student_facts(student.architecture)
        several = len(families) > 1
        for i, (family, layer) in enumerate(zip(families, self.student_layers, strict=True)):
            at = f"s[{i}]" if several else ""
            check_attending_layer(layer, student, setting=f"student_layer{at}")
            self._check_family(family, ours, setting=f"signal{at}")
            if several and family.list_name != "all":
                raise UsageError(
                    f"signal{at}: {family.name!r} labels some rows only; write a term for each "
                    "pair of layers, with its part of the weight"
                )

    def _check_family(self, family: Any, ours: AttentionFacts, *, setting: str) -> None:
        named = {"loss": self.loss, "setting": setting}
        check_kind(family, ("relations", "qkv", "attention"), **named)
        if self.on_scores or family.signal.kind != "attention":
            either = _COUNTED[self.loss] != "entries"
            check_scores(family, **named, way_out=_ON_PROBABILITIES if either else "")
        check_mask(family, ours, setting=setting)
        if self.loss not in _ANY_HEADS:
            other = "attention_ce_mean" if self.loss == "attention_ce" else "attention_mse_sum"
            check_heads(family, ours, setting=setting, way_out=f"take loss: {other}")
