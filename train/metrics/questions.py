"""What held-out examples and their families can ask of a student. No TensorFlow.

Labels of the examples ask the head that answers them; a sparse, final or task family asks how far
the student's distribution is from the teacher's (at T = 1); a hidden family compares states.
"""

# C outputs of a head

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset
from train.reading.families import Family
from train.recipe import StudentFacts, Term
from train.recipe.heads import Head

__all__ = ["METRICS", "Question", "head_of_family", "label_questions", "suffix_of"]

QuestionKind = Literal["language", "classes", "flags", "number", "span"]

METRICS: Mapping[QuestionKind, tuple[str, ...]] = {
    "language": ("accuracy", "cross_entropy"),
    "classes": ("accuracy", "macro_f1", "cross_entropy"),
    "flags": ("micro_f1", "cross_entropy"),
    "number": ("mse", "pearson"),
    "span": ("exact_match", "cross_entropy"),
}
"""Kind of question -> its metrics; of the next token there is `perplexity` too."""

# Field of the examples -> list of a batch, kind of head, kind of question.
_LABELS: Mapping[str, tuple[str, str, QuestionKind]] = {
    "class_id": ("class", "classification", "classes"),
    "class_flags": ("flags", "classification", "flags"),
    "target": ("target", "classification", "number"),
    "tags": ("tags", "tagging", "classes"),
    "is_random_next": ("sentence", "next_sentence", "classes"),
    "answerable": ("span", "span", "span"),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Labels of examples against one head, or against the language model's."""

    kind: QuestionKind
    """How answers are judged."""

    list: str
    """List of a batch with the entries that carry the label."""

    head: str | None = None
    """Name of the head; None for the language model's."""

    size: int = 0
    """C."""

    suffix: str = ""
    """Behind the names of its metrics: `_NAME` where the student has several heads."""

    @property
    def name(self) -> str:
        """Of its count."""
        return f"{self.list}{self.suffix}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics, behind `eval/`."""
        names = METRICS[self.kind] + (("perplexity",) if self.list == "next" else ())
        return tuple(f"{name}{self.suffix}" for name in names)


def label_questions(
    student: StudentFacts, examples: Dataset, *, only: str | None = None
) -> tuple[Question, ...]:
    """What the labels of examples ask of a student.

    Args:
      student: facts.
      examples: held out.
      only: name of the one head that they are for, or masked_lm; None for all that fit.

    Raises:
      UsageError: several heads could be meant.
    """
    fields = examples.layout.names
    found: list[Question] = []
    if student.language == "masked" and "mask_ids" in fields and only in (None, "masked_lm"):
        found.append(Question(kind="language", list="masked"))
    if student.language == "next" and only is None:
        found.append(Question(kind="language", list="next"))
    for label, (name, head_kind, kind) in _LABELS.items():
        if label not in fields:
            continue
        heads = {
            head_name: head
            for head_name, head in student.heads.items()
            if head.kind == head_kind and only in (None, head_name)
        }
        if heads:
            head_name, head = _meant(heads, examples, label)
            suffix = suffix_of(student, head_name)
            found.append(
                Question(kind=kind, list=name, head=head_name, size=head.num_labels, suffix=suffix)
            )
            _check_size(found[-1], examples)
    return tuple(found)


def suffix_of(student: StudentFacts, head: str) -> str:
    """What stands behind the metrics of a head: nothing where it is all that the student has."""
    return "" if len(student.heads) == 1 and student.language is None else f"_{head}"


def head_of_family(
    student: StudentFacts, family: Family, terms: Sequence[Term], *, where: str
) -> str:
    """The head whose logits a task family is of.

    Args:
      student: facts.
      family: that holds a task's logits.
      terms: of the objective; a term that learns from a family of that name may say the head.
      where: the setting, for messages.

    Raises:
      UsageError: none fits, or several do.
    """
    named = {getattr(term, "head", None) for term in terms if family.name in term.signals} - {None}
    per_token = family.signal.positions == "all"
    fitting = [
        name
        for name, head in student.heads.items()
        if head.kind != "span"
        and (not named or name in named)
        and head.num_labels == family.num_labels
        and head.per_token == per_token
    ]
    if len(fitting) != 1:
        there = ", ".join(f"{n} ({h.num_labels})" for n, h in student.heads.items()) or "none"
        what = "several heads" if fitting else "no head"
        raise UsageError(
            f"{where}: {family.name!r} holds {family.num_labels} logits of a task a "
            f"{'token' if per_token else 'row'}, and {what} of the student could answer it; its "
            f"heads are {there} (spans are not compared)"
        )
    return fitting[0]


def _meant(heads: Mapping[str, Head], examples: Dataset, label: str) -> tuple[str, Head]:
    """The head that labels are for: the only one, or the only one of these labels."""
    labels = tuple(examples.content.settings.get("labels") or ())
    same = {name: head for name, head in heads.items() if labels and head.labels == labels}
    fitting = same if len(heads) > 1 and same else heads
    if len(fitting) > 1:
        raise UsageError(
            f"{examples.directory}: {label} could be for any of the heads {', '.join(fitting)}; "
            "name the head with data.heldout_tasks"
        )
    return next(iter(fitting.items()))


def _check_size(question: Question, examples: Dataset) -> None:
    """Refuses labels that the head has no outputs for."""
    size = len(examples.content.settings.get("labels") or ())
    if question.kind == "flags":
        size = examples.layout.field("class_flags").shape[0] or 0
    elif question.kind == "number":
        size = 1
    elif question.kind != "classes" or question.list == "sentence":
        size = question.size
    if size and size != question.size:
        raise UsageError(
            f"{examples.directory}: has {size} labels, and the student's head {question.head!r} "
            f"{question.size} outputs"
        )
