"""What terms on attention and relations refuse. No TensorFlow.

Messages begin with the name of the setting that is wrong.
"""

from typing import Any

from limbeck.config.errors import UsageError
from train.recipe.term import StudentFacts
from train.starting.attention_facts import AttentionFacts

__all__ = ["check_attending_layer", "check_heads", "check_kind", "check_mask", "check_scores"]


def check_kind(family: Any, allowed: tuple[str, ...], *, loss: str, setting: str) -> None:
    """Refuses a family of another signal.

    Args:
      family: opened, or live.
      allowed: kinds of signals, such as ("relations", "qkv").
      loss: of the term.
      setting: that names the family.
    """
    if family.signal.kind not in allowed:
        raise UsageError(
            f"{setting}: loss {loss} cannot learn from {family.name!r}, which holds a "
            f"{family.signal.kind} signal; it needs one of {', '.join(allowed)}"
        )


def check_attending_layer(layer: int, student: StudentFacts, *, setting: str) -> None:
    """Refuses a layer that the student does not have, and the embeddings, which do not attend."""
    num_layers = student.architecture.num_layers
    if not 1 <= layer <= num_layers:
        raise UsageError(
            f"{setting} is {layer}, but the student has layers 1 to {num_layers} that attend"
        )


def check_mask(family: Any, student: AttentionFacts, *, setting: str) -> None:
    """Refuses a teacher whose tokens see others than the student's do."""
    causal = family.attention.causal
    if causal is None:
        raise UsageError(
            f"{setting}: {family.name!r} does not say whether its teacher's tokens see what is "
            "behind them; extract it again"
        )
    if causal != student.causal:
        words = {True: "only what is before them", False: "all others"}
        raise UsageError(
            f"{setting}: tokens of the teacher of {family.name!r} see {words[causal]}, those of "
            f"the student {words[bool(student.causal)]}; take models that attend alike"
        )


def check_heads(family: Any, student: AttentionFacts, *, setting: str, way_out: str) -> None:
    """Refuses a teacher of another number of attention heads than the student's, or of none known.

    Args:
      family: opened, or live.
      student: how it attends.
      setting: that names the family.
      way_out: what can be done about other numbers.
    """
    found = family.attention.num_heads
    if not found:
        raise UsageError(
            f"{setting}: {family.name!r} does not say how many attention heads its teacher has; "
            "extract it again, or take an attention family"
        )
    if found != student.num_heads:
        raise UsageError(
            f"{setting}: the teacher of {family.name!r} has {found} attention heads and the "
            f"student {student.num_heads}; {way_out}"
        )


def check_scores(family: Any, *, loss: str, setting: str, way_out: str) -> None:
    """Refuses a family from which attention scores cannot be rebuilt.

    Args:
      family: opened, or live.
      loss: of the term.
      setting: that names the family.
      way_out: what else can be done.
    """
    if family.signal.kind == "attention":
        raise UsageError(
            f"{setting}: loss {loss} needs scores before softmax, and {family.name!r} holds "
            f"probabilities; extract a relations or a qkv family of the layer{way_out}"
        )
    if not family.attention.gives_scores:
        raise UsageError(
            f"{setting}: {family.name!r} does not say how positions enter its teacher's attention, "
            "so that this cannot be rebuilt from it; extract a relations family of the layer, or "
            f"an attention family where probabilities are enough{way_out}"
        )
