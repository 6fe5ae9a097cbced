"""The heads of a student, as terms and evaluations know them. No TensorFlow.

A student with one head names it after what it does: `classification`, `tagging`, `span`,
`next_sentence`; one with several as the recipe does.
"""

# C outputs

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from limbeck.config.errors import UsageError
from train.recipe.term import StudentFacts

__all__ = ["Head", "TaskKind", "head_of", "heads_from_plain", "heads_to_plain", "resolve_head"]

TaskKind = Literal["classification", "tagging", "span", "next_sentence"]
"""classification: one answer a row, whatever the loss makes of its C numbers. tagging: C numbers a
token. span: two a token, of an answer's first and last one. next_sentence: two a row, 0 for texts
that follow each other and 1 for others (ALBERT: in order, swapped)."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """One task head."""

    kind: TaskKind
    """What it answers."""
    num_labels: int
    """C."""
    labels: tuple[str, ...] = ()
    """Names of the outputs, where the examples say them."""

    @property
    def per_token(self) -> bool:
        """Whether it answers for every token, rather than for a row."""
        return self.kind in ("tagging", "span")


def resolve_head(
    heads: Mapping[str, Head], name: str | None, *, kinds: Sequence[str], loss: str
) -> str:
    """The head that a term means.

    Args:
      heads: of the student.
      name: as the term has it; None for the only one that fits.
      kinds: that fit.
      loss: of the term, for the message.

    Raises:
      UsageError: none, several, or one of another kind; begins with `head`.
    """
    there = ", ".join(f"{n} ({h.kind})" for n, h in heads.items()) or "none"
    wanted = "task" if len(kinds) == len(get_args(TaskKind)) else " or ".join(kinds)
    if name is not None:
        if name not in heads:
            raise UsageError(f"head {name!r} is not there: the student's heads are {there}")
        if heads[name].kind not in kinds:
            raise UsageError(
                f"head {name!r} is a {heads[name].kind} head; loss {loss} needs a {wanted} one"
            )
        return name
    fitting = [n for n, head in heads.items() if head.kind in kinds]
    if not fitting:
        raise UsageError(
            f"head: loss {loss} needs a student with a {wanted} head; its heads are {there}: set "
            "model.head or model.heads"
        )
    if len(fitting) > 1:
        raise UsageError(
            f"head: the student has several {wanted} heads, {', '.join(fitting)}; name one"
        )
    return fitting[0]


def head_of(name: str | None, student: StudentFacts) -> tuple[str, Head]:
    """The head of a term that takes any kind, and its facts; None for the student's only one.

    Raises:
      UsageError: none, several, or no such head; begins with `head`.
    """
    found = resolve_head(student.heads, name, kinds=get_args(TaskKind), loss="on a task")
    return found, student.heads[found]


def heads_to_plain(heads: Mapping[str, Head]) -> dict[str, Any]:
    """JSON-able values."""
    return {
        name: {"kind": h.kind, "num_labels": h.num_labels, "labels": list(h.labels)}
        for name, h in heads.items()
    }


def heads_from_plain(plain: Mapping[str, Any]) -> dict[str, Head]:
    """Reads `heads_to_plain`'s values."""
    return {
        name: Head(
            kind=values["kind"],
            num_labels=int(values["num_labels"]),
            labels=tuple(values["labels"]),
        )
        for name, values in plain.items()
    }
