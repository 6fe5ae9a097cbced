"""Terms on labels that stand in the examples themselves. No TensorFlow.

Each sums over the rows or tokens that carry its label, and over no others: a row without one counts
nothing. Terms on tasks look at a head of the student.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from limbeck.config.errors import UsageError
from train.reading.batch import in_corpus
from train.recipe.heads import TaskKind, resolve_head
from train.recipe.term import StudentFacts, Term, Wants, register

__all__ = [
    "CausalLMTerm",
    "ClassTerm",
    "LabelTerm",
    "MaskedLMTerm",
    "MultiLabelTerm",
    "NextSentenceTerm",
    "RegressionTerm",
    "SpanTerm",
    "TagTerm",
    "TaskTerm",
]


@dataclass(frozen=True, kw_only=True)
class LabelTerm(Term):
    """What these terms have in common."""

    base_list: ClassVar[str]
    """List of a batch that holds the entries with such a label; see `train.reading.batch`."""
    label_field: ClassVar[str]
    """Field of the examples that says whether there is one."""

    corpus: str | None = None
    """Of `data.corpora`, the one whose rows it sums over; null: all rows that carry the label."""

    def list_name(self, families: Sequence[Any]) -> str:
        """The entries that carry the label."""
        return in_corpus(self.base_list, self.corpus)


@register
@dataclass(frozen=True, kw_only=True)
class MaskedLMTerm(LabelTerm):
    """Cross-entropy to the true ids of masked tokens."""

    base_list = "masked"
    label_field = "mask_ids"

    loss: Literal["mlm"] = "mlm"
    """Name of the loss."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses a student that predicts no masked tokens."""
        if student.language != "masked":
            raise UsageError(
                "loss mlm needs a student with a masked-LM head: set model.head to masked_lm or "
                "pretraining"
            )

    def wants(self, families: Sequence[Any]) -> Wants:
        """Logits there."""
        return Wants(logits=True)


@register
@dataclass(frozen=True, kw_only=True)
class CausalLMTerm(LabelTerm):
    """Cross-entropy to the next token, at every real token that has one."""

    base_list = "next"
    label_field = "ids"

    loss: Literal["clm"] = "clm"
    """Name of the loss."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses a student that sees what it should predict."""
        if student.language != "next":
            raise UsageError(
                "loss clm needs a decoder, which does not see the next token: set model.head to "
                "causal_lm"
            )

    def wants(self, families: Sequence[Any]) -> Wants:
        """Logits there."""
        return Wants(logits=True)


@dataclass(frozen=True, kw_only=True)
class TaskTerm(LabelTerm):
    """A term on a task head of the student."""

    head_kind: ClassVar[TaskKind]
    """Kind of head that it needs."""

    head: str | None = None
    """Name of the head; null: the student's only one that fits."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses a student without such a head."""
        self._head(student)

    def settled(self, student: StudentFacts) -> "TaskTerm":
        """With the head's name."""
        return dataclasses.replace(self, head=self._head(student))

    def wants(self, families: Sequence[Any]) -> Wants:
        """The head's logits."""
        return Wants(head=self.head)

    def _head(self, student: StudentFacts) -> str:
        kinds = (self.head_kind,)
        return resolve_head(student.heads, self.head, kinds=kinds, loss=self.loss)


@register
@dataclass(frozen=True, kw_only=True)
class NextSentenceTerm(TaskTerm):
    """Whether the second text follows the first: cross-entropy over two classes."""

    base_list = "sentence"
    label_field = "is_random_next"
    head_kind = "next_sentence"

    loss: Literal["nsp"] = "nsp"
    """Name of the loss."""


@register
@dataclass(frozen=True, kw_only=True)
class ClassTerm(TaskTerm):
    """Cross-entropy to a row's class."""

    base_list = "class"
    label_field = "class_id"
    head_kind = "classification"

    loss: Literal["class"] = "class"
    """Name of the loss."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses a head that cannot tell two classes apart."""
        name = self._head(student)
        if student.heads[name].num_labels < 2:
            raise UsageError(
                f"head {name!r} has one output, and loss class needs one for each class; for a "
                "number take loss: regression"
            )


@register
@dataclass(frozen=True, kw_only=True)
class MultiLabelTerm(TaskTerm):
    """Binary cross-entropy of each label of a row, as a mean over the labels."""

    base_list = "flags"
    label_field = "class_flags"
    head_kind = "classification"

    loss: Literal["multi_label"] = "multi_label"
    """Name of the loss."""


@register
@dataclass(frozen=True, kw_only=True)
class RegressionTerm(TaskTerm):
    """Squared difference to a row's number."""

    base_list = "target"
    label_field = "target"
    head_kind = "classification"

    loss: Literal["regression"] = "regression"
    """Name of the loss."""

    def check(self, families: Sequence[Any], student: StudentFacts) -> None:
        """Refuses a head of several numbers."""
        name = self._head(student)
        if student.heads[name].num_labels != 1:
            raise UsageError(
                f"head {name!r} has {student.heads[name].num_labels} outputs, and loss regression "
                "compares one number: set num_labels to 1"
            )


@register
@dataclass(frozen=True, kw_only=True)
class TagTerm(TaskTerm):
    """Cross-entropy to the tag of every token that carries one."""

    base_list = "tags"
    label_field = "tags"
    head_kind = "tagging"

    loss: Literal["tag"] = "tag"
    """Name of the loss."""


@register
@dataclass(frozen=True, kw_only=True)
class SpanTerm(TaskTerm):
    """Cross-entropy to an answer's first and last token, as the mean of the two."""

    base_list = "span"
    label_field = "answerable"
    head_kind = "span"

    loss: Literal["span"] = "span"
    """Name of the loss."""
