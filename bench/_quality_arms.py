"""The arms of `bench.quality`: what a student learns from, all else equal. No TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.labels.signals import FinalSignal, HiddenSignal, Signal, SparseSignal
from train.recipe import Term, make_term

__all__ = ["ARMS", "FULL", "OPTIONAL", "Arm", "derived", "extracted", "heldout"]

FULL = "full"
"""Arm and family of the teacher's whole distribution; what most others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to learn, beside which only the labels differ."""

    title: str
    """In the table."""
    terms: tuple[Mapping[str, Any], ...]
    """Settings of the terms of the objective."""
    families: tuple[str, ...] = ()
    """Label families that it reads."""
    live: bool = False
    """Whether the teacher runs beside the student in place of the store."""
    against: str | None = FULL
    """Arm that it is compared with, seed by seed; None for the one that others are."""
    judged: bool = True
    """Whether the row gets a verdict."""

    def objective(self, *, student_layer: int, mlm: float) -> tuple[Term, ...]:
        """Its terms.

        Args:
          student_layer: that hidden terms compare.
          mlm: weight of a term on the true ids, beside those on the teacher; 0 for none.
        """
        found = []
        for settings in self.terms:
            layer: dict[str, Any] = (
                {"student_layer": student_layer} if "hidden" in settings["loss"] else {}
            )
            found.append(make_term(**settings, **layer))
        if mlm and self.families:
            found.append(make_term("mlm", weight=mlm))
        return tuple(found)


def _bucket(k: int) -> Arm:
    terms = ({"loss": "kl", "signal": f"k{k}", "missing_mass": "bucket"},)
    return Arm(title=f"top {k} and a bucket", families=(f"k{k}",), terms=terms)


def _top10(missing_mass: str) -> Arm:
    terms = ({"loss": "kl", "signal": "k10", "missing_mass": missing_mass},)
    return Arm(title=f"top 10, {missing_mass}", families=("k10",), terms=terms)


def _lean(one_in: int) -> Arm:
    name = f"lean{one_in}"
    title = f"lean sample, 1/{one_in}" + (" (recommended)" if one_in == 120 else "")
    return Arm(title=title, families=(name,), terms=({"loss": "soft_ce", "signal": name},))


def _final(codec: str) -> Arm:
    name = f"final_{codec}"
    return Arm(title=f"final, {codec}", families=(name,), terms=({"loss": "kl", "signal": name},))


def _hidden(codec: str, **more: Any) -> Arm:
    name = f"hidden_{codec}"
    terms = ({"loss": "kl", "signal": FULL}, {"loss": "hidden_cosine", "signal": name})
    return Arm(title=f"full logits and hidden, {codec}", families=(FULL, name), terms=terms, **more)


_FULL_TERMS = ({"loss": "kl", "signal": FULL},)

ARMS: Mapping[str, Arm] = {
    FULL: Arm(
        title="full logits (final, float32)", families=(FULL,), terms=_FULL_TERMS, against=None
    ),
    "live": Arm(title="live teacher", families=(FULL,), terms=_FULL_TERMS, live=True),
    "none": Arm(title="no teacher (true ids)", terms=({"loss": "mlm"},), judged=False),
    "lean120": _lean(120),
    "lean32": _lean(32),
    **{f"k{k}": _bucket(k) for k in (1, 4, 10, 32, 100)},
    "k10_truncated": _top10("truncated"),
    "k10_renormalised": _top10("renormalised"),
    "final_bfloat16": _final("bfloat16"),
    "final_int8": _final("int8"),
    "hidden_float16": _hidden("float16", judged=False),
    "hidden_int8": _hidden("int8", against="hidden_float16"),
}

OPTIONAL = ("final_bfloat16", "final_int8", "hidden_int8")
"""Families whose codec may not pass its gate; their arms are then left out and named."""


def extracted(num_layers: int) -> dict[str, Signal]:
    """Families that need the teacher, with that many layers."""
    return {
        FULL: FinalSignal(codec="float32"),
        "final_bfloat16": FinalSignal(codec="bfloat16"),
        "final_int8": FinalSignal(codec="int8"),
        "hidden_float16": HiddenSignal(layer=num_layers, positions="masked", codec="float16"),
        "hidden_int8": HiddenSignal(layer=num_layers, positions="masked", codec="int8"),
    }


def derived() -> dict[str, Signal]:
    """Families that follow from the full one, without the teacher; all for T = 1."""

    def lean(one_in: int) -> SparseSignal:
        return SparseSignal(threshold=1 / one_in, sample=True, form="lean", temperatures=(1.0,))

    return {
        **{f"k{k}": SparseSignal(k=k, temperatures=(1.0,)) for k in (1, 4, 10, 32, 100)},
        **{f"lean{one_in}": lean(one_in) for one_in in (120, 32)},
    }


def heldout() -> dict[str, Signal]:
    """Of the held-out examples: what the KL is measured against."""
    return {FULL: FinalSignal(codec="float32")}
