"""What terms on logits refuse in families and students. No TensorFlow."""

from collections.abc import Sequence
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, SparseSignal, TaskSignal
from train.recipe.heads import resolve_head
from train.recipe.term import StudentFacts

__all__ = ["check_full", "check_head_not_given", "check_together", "check_vocabulary"]

PER_ROW = ("classification", "next_sentence")
PER_TOKEN = ("tagging", "span")


def check_together(names: Sequence[str], families: Sequence[Any]) -> None:
    """Refuses several teachers that do not answer the same question at the same entries."""
    if len(families) == 1:
        return
    first = families[0].signal
    for name, family in zip(names, families, strict=True):
        signal = family.signal
        if isinstance(signal, SparseSignal):
            raise UsageError(
                f"signals: {name!r} is sparse, and several teachers are only averaged over whole "
                "distributions; give one term for each (the gradient of soft_ce is then that of "
                "averaged probabilities), or extract final families"
            )
        if signal.kind != first.kind or signal.positions != first.positions:
            raise UsageError(
                f"signals: {names[0]!r} is {first.kind} at positions {first.positions} and "
                f"{name!r} {signal.kind} at {signal.positions}; they must be alike"
            )
        if getattr(family, "is_partial", False):
            raise UsageError(
                f"signals: {name!r} labels some rows only, and teachers are averaged where all of "
                "them answer; give one term for each, or extract the whole family"
            )


def check_full(
    loss: str,
    names: Sequence[str],
    families: Sequence[Any],
    student: StudentFacts,
    *,
    head: str | None,
    kinds: Sequence[str] = ("final", "task"),
) -> None:
    """Refuses what does not hold all logits of a question that the student answers too.

    Args:
      loss: of the term.
      names: of the families.
      families: of one kind.
      student: facts.
      head: of the term.
      kinds: of signals that the loss is for.
    """
    for name, family in zip(names, families, strict=True):
        signal = family.signal
        if signal.kind not in kinds:
            raise UsageError(
                f"signal: loss {loss} cannot learn from {name!r}, which holds a {signal.kind} "
                f"signal; it needs {' or '.join(kinds)}"
            )
        if isinstance(signal, FinalSignal):
            check_head_not_given(head, name, signal.kind)
            check_vocabulary(loss, name, student)
            if family.num_logits != student.architecture.vocab_size:
                raise UsageError(
                    f"signal: the decoder of {name!r} has {family.num_logits} ids and the "
                    f"student {student.architecture.vocab_size}"
                )
        if isinstance(signal, TaskSignal):
            _check_task(loss, name, family, student, head)


def check_vocabulary(loss: str, name: str, student: StudentFacts) -> None:
    """Refuses a student without a language-model head."""
    if not student.predicts:
        raise UsageError(
            f"signal: {name!r} is over the vocabulary, for which the student has no head; loss "
            f"{loss} can learn from a task family"
        )


def check_head_not_given(head: str | None, name: str, kind: str) -> None:
    """Refuses the name of a head beside a family that is over the vocabulary."""
    if head is not None:
        raise UsageError(
            f"head has no effect: {name!r} is {kind}, which is over the vocabulary; a head goes "
            "with a task family"
        )


def _check_task(loss: str, name: str, family: Any, student: StudentFacts, head: str | None) -> None:
    positions = family.signal.positions
    if head is None and len(student.heads) > 1:
        raise UsageError(
            f"head: the student has several, {', '.join(student.heads)}; name the one that learns "
            f"from {name!r}"
        )
    found = student.heads[
        resolve_head(
            student.heads, head, kinds=PER_ROW if positions == "first" else PER_TOKEN, loss=loss
        )
    ]
    if family.num_labels != found.num_labels:
        raise UsageError(
            f"signal: {name!r} has {family.num_labels} logits an entry and the student's head "
            f"{found.num_labels}"
        )
    if loss in ("kl", "soft_ce") and family.num_labels == 1:
        raise UsageError(
            f"signal: {name!r} has one logit an entry, whose softmax is always 1; take logit_mse"
        )
    if loss in ("kl", "soft_ce") and found.kind == "span":
        raise UsageError(
            f"signal: {name!r} marks where a span begins and ends, a softmax over tokens, while "
            f"loss {loss} takes one over the logits of an entry; take span_{loss}"
        )
