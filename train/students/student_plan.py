"""What a student is to be: its shape, what reads its states, how many outputs. No TensorFlow."""

# C outputs of a head

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import Architecture, num_labels_from_hf
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.records.dataset import Dataset
from limbeck.weights.hf_folder import read_config
from train.recipe import ModelInit, StudentFacts, Term
from train.recipe.heads import Head, TaskKind, heads_from_plain, heads_to_plain
from train.recipe.terms.labels import TaskTerm

__all__ = ["SEVERAL", "ModelKind", "StudentPlan", "plan_student", "single_head"]

ModelKind = Literal[
    "masked_lm",
    "causal_lm",
    "pretraining",
    "classification",
    "tagging",
    "span",
    "next_sentence",
    "none",
    "several",
]
SEVERAL = "several"

_LANGUAGE: Mapping[str, Literal["masked", "next"]] = {
    "masked_lm": "masked",
    "pretraining": "masked",
    "causal_lm": "next",
}
_FIELDS = {"classification": ("class_id", "class_flags", "target"), "tagging": ("tags",)}


@dataclass(frozen=True, kw_only=True)
class StudentPlan:
    """All that decides the variables of a student's model; checkpoints keep it."""

    architecture: Architecture
    """Of the encoder or decoder."""

    kind: ModelKind = "masked_lm"
    """What reads its states."""

    heads: Mapping[str, Head] = field(default_factory=dict)
    """Task heads by name."""

    beside_language: bool = False
    """Of kind `several`: whether there is a masked LM's head beside them."""

    @property
    def language(self) -> Literal["masked", "next"] | None:
        """What its vocabulary logits are of; None where it has none."""
        return "masked" if self.beside_language else _LANGUAGE.get(self.kind)

    @property
    def facts(self) -> StudentFacts:
        """As the terms see it."""
        return StudentFacts(
            architecture=self.architecture,
            heads=self.heads,
            predicts=self.language is not None,
            language=self.language,
            pooler=self.has_pooler,
        )

    @property
    def has_pooler(self) -> bool:
        """Whether the model has one: where a head reads it, and beside an encoder alone."""
        shape = self.architecture
        if not isinstance(shape, EncoderArchitecture):
            return False
        kinds = {head.kind for head in self.heads.values()}
        if "next_sentence" in kinds or (self.kind == "none" and shape.has_pooler):
            return True
        return "classification" in kinds and shape.classifies_pooled

    @property
    def title(self) -> str:
        """What the student is, for the lines of a plan."""
        names = {"masked_lm": "masked LM", "causal_lm": "causal LM", "none": "no head"}
        heads = ", ".join(_title(name, head) for name, head in self.heads.items())
        if self.kind == "pretraining":
            return "masked LM and next sentence"
        if self.beside_language:
            return f"masked LM, {heads}"
        return names.get(self.kind, heads)

    def to_plain(self) -> dict[str, Any]:
        """JSON-able values: of a masked LM its architecture alone."""
        plain = cast("dict[str, Any]", yaml_file.to_plain(self.architecture))
        if self.kind == "masked_lm":
            return plain
        more = {"beside_language": True} if self.beside_language else {}
        return {**plain, "head": self.kind, "heads": heads_to_plain(self.heads), **more}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], *, where: str) -> "StudentPlan":
        """Reads `to_plain`'s values.

        Raises:
          UsageError: of another version.
        """
        values = dict(plain)
        kind, heads = values.pop("head", "masked_lm"), values.pop("heads", {})
        beside = bool(values.pop("beside_language", False))
        if kind not in get_args(ModelKind):
            raise UsageError(f"{where}: head {kind!r} is unknown to this version")
        shape: Architecture
        if kind == "causal_lm":
            shape = yaml_file.from_plain(DecoderArchitecture, values, where)
        else:
            shape = yaml_file.from_plain(EncoderArchitecture, values, where)
        return cls(
            architecture=shape,
            kind=kind,
            heads=heads_from_plain(heads),
            beside_language=beside,
        )


def plan_student(
    model: ModelInit,
    architecture: Architecture,
    *,
    terms: Sequence[Term],
    corpora: Mapping[str, Dataset],
) -> StudentPlan:
    """The student of a recipe; where it does not say how many labels there are, the examples do.

    Args:
      model: of the recipe.
      architecture: the student's, read from its checkpoint where it starts from one.
      terms: of all objectives: they say which corpora a head is for.
      corpora: name -> examples.

    Raises:
      UsageError: a head that the family has not; labels that nobody numbers, or two disagree on.
    """
    wanted: dict[str, tuple[TaskKind, int | None]] = {
        name: (head.kind, head.num_labels)
        for name, head in model.heads.items()
        if head.kind != "masked_lm"
    }
    kind = cast(ModelKind, SEVERAL if model.heads else model.head)
    if kind in ("classification", "tagging", "span"):
        wanted = {kind: (cast(TaskKind, kind), model.num_labels)}
    elif kind == "pretraining":
        wanted = {"next_sentence": ("next_sentence", None)}
    heads = {}
    for name, (what, number) in sorted(wanted.items()):  # in whatever order a file has them
        if what in ("span", "next_sentence"):
            heads[name] = Head(kind=what, num_labels=2)
            continue
        where = f"model.heads.{name}" if model.heads else "model"
        alone = sum(other == what for other, _ in wanted.values()) == 1
        own = list(_labelled(name, what, alone, terms, corpora))
        heads[name] = _numbered(what, number, own, model=model, where=where)
    plan = StudentPlan(
        architecture=architecture,
        kind=kind,
        heads=heads,
        beside_language="masked_lm" in model.heads,
    )
    _check_family(plan)
    return plan


def single_head(kind: str, num_labels: int, labels: Sequence[str] = ()) -> dict[str, Head]:
    """The heads of a model with one task, by its kind; of pretraining the next sentence's."""
    if kind in ("next_sentence", "pretraining"):
        return {"next_sentence": Head(kind="next_sentence", num_labels=2)}
    if kind in ("classification", "tagging", "span"):
        head = Head(kind=cast(TaskKind, kind), num_labels=num_labels, labels=tuple(labels))
        return {kind: head}
    return {}


def _labelled(
    name: str,
    kind: str,
    alone: bool,
    terms: Sequence[Term],
    corpora: Mapping[str, Dataset],
) -> Iterator[tuple[Dataset, str]]:
    """The examples that a head is for, and the field of their labels."""
    own = [
        term
        for term in terms
        if isinstance(term, TaskTerm)
        and term.head_kind == kind
        and (term.head == name or (term.head is None and alone))
    ]
    if own:
        pairs = [(term.label_field, term.corpus) for term in own]
    else:  # it learns from stored labels of a teacher only
        pairs = [(label, None) for label in _FIELDS[kind]] if alone else []
    for label, corpus in pairs:
        for part, examples in corpora.items():
            if corpus in (None, part) and label in examples.layout.names:
                yield examples, label


def _numbered(
    kind: TaskKind,
    number: int | None,
    own: Sequence[tuple[Dataset, str]],
    *,
    model: ModelInit,
    where: str,
) -> Head:
    """The head, with as many outputs as recipe and examples agree on."""
    found: dict[tuple[int, tuple[str, ...]], str] = {}
    for examples, label in own:
        names = tuple(examples.content.settings.get("labels") or ())
        if label == "target":
            names, size = (), 1
        elif label == "class_flags":
            size = examples.layout.field(label).shape[0] or 0
        else:
            size = len(names)
        if size:
            found.setdefault((size, names), str(examples.directory))
    if len(found) > 1:
        (first, there), (second, other) = list(found.items())[:2]
        raise UsageError(
            f"{where}: {there} has {_labels(*first)} and {other} {_labels(*second)}; one head has "
            "one set of labels: give each its own in model.heads"
        )
    for (size, names), there in found.items():
        if number not in (None, size):
            raise UsageError(f"{where}.num_labels is {number}, but {there} has {size} labels")
        return Head(kind=kind, num_labels=size, labels=names)
    if number is None and model.checkpoint is not None and not model.heads:
        number = num_labels_from_hf(read_config(model.checkpoint))
    if number is None:
        raise UsageError(
            f"{where}.num_labels is missing, and no examples that the head learns from say how "
            f"many labels there are (with {_or(_FIELDS[kind])})"
        )
    return Head(kind=kind, num_labels=number)


def _or(names: Sequence[str]) -> str:
    return f"the field {' or '.join(names)}"


def _labels(size: int, names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{size} labels" + (f" ({shown})" if names else "")


def _check_family(plan: StudentPlan) -> None:
    shape = plan.architecture
    needs = [name for name, head in plan.heads.items() if head.kind == "next_sentence"]
    if needs and isinstance(shape, EncoderArchitecture) and not shape.has_pooler:
        raise UsageError(
            f"model.head: next sentence needs a pooler, and {shape.family} has none; take another "
            "family"
        )


def _title(name: str, head: Head) -> str:
    what = head.kind.replace("_", " ")
    label = what if name == head.kind else f"{name}: {what}"
    return f"{label} ({head.num_labels})" if head.kind in _FIELDS else label
