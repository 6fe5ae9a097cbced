"""Which held-out families an evaluation can use, and for what. No TensorFlow.

A sparse or final family gives the KL from the teacher, at T = 1; so does a task family, over the
outputs of the head that it is of. A hidden family gives the cosine between the teacher's states and
those of a layer of the student: of the layers that the objective's terms compare with the family of
the same name, through the terms' projections. Partial families count the rows that they have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal, TaskSignal
from limbeck.records.dataset import Dataset
from train.metrics.questions import Question, head_of_family, label_questions, suffix_of
from train.reading.families import Family
from train.recipe import HiddenTerm, Recipe, StudentFacts, Term

__all__ = [
    "KL_TEMPERATURE",
    "Comparison",
    "HeldoutSet",
    "answers_of",
    "check_distribution",
    "check_heldout",
    "compared_layers",
    "distribution_of",
    "layer_name",
    "metric_names",
]

KL_TEMPERATURE = 1.0
WHERE = "data.heldout_labels"

HeldoutSet = tuple[Dataset, Mapping[str, Family]]
"""Examples to evaluate on, and their families."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A layer of the student against a hidden family."""

    name: str
    """Of its metric, after `eval/cosine_`."""

    family: str
    """Name of the family."""

    layer: int
    """Of the student; 0 is the embeddings."""

    term: int | None = None
    """Index in the objective of the term whose projection it goes through."""


def distribution_of(families: Mapping[str, Family], *, where: str = WHERE) -> Family | None:
    """The family that gives the KL over the vocabulary; None where there is none.

    Raises:
      UsageError: several, or a kind of signal that an evaluation has no use for.
    """
    found = None
    for name, family in families.items():
        if isinstance(family.signal, HiddenSignal | TaskSignal):
            continue
        if not isinstance(family.signal, SparseSignal | FinalSignal):
            raise UsageError(
                f"{where}: {name!r} holds a {family.signal.kind} signal; an evaluation uses "
                "sparse, final, task and hidden ones"
            )
        if found is not None:
            raise UsageError(
                f"{where}: {found.name!r} and {name!r} both give the teacher's distribution; "
                "leave one out"
            )
        found = family
    return found


def check_distribution(family: Family, *, student: StudentFacts, where: str = WHERE) -> None:
    """Refuses a family that cannot give a KL at T = 1.

    Raises:
      UsageError: a student without vocabulary logits, or with none at those positions; a decoder of
        another vocabulary, a grid without T = 1, or a lean sample, which does not tell the
        teacher's entropy.
    """
    signal, name = family.signal, f"{where}: {family.name!r}"
    vocab_size = student.architecture.vocab_size
    if student.language is None:
        raise UsageError(f"{name} holds a {signal.kind} signal, and the student predicts no tokens")
    if student.language == "next" and signal.positions == "masked":
        raise UsageError(f"{name} labels masked positions, and the student predicts the next token")
    if isinstance(signal, FinalSignal):
        rows = len(family.fitted.tensors["decoder/kernel"])
        if rows != vocab_size:
            raise UsageError(f"{name}: its decoder has {rows} ids and the student {vocab_size}")
        return
    assert isinstance(signal, SparseSignal)  # `distribution_of` gives no others
    if KL_TEMPERATURE not in signal.temperatures:
        raise UsageError(
            f"{name}: temperature 1 is not in its grid, {list(signal.temperatures)}; KL needs it"
        )
    if signal.form == "lean" and signal.sample:
        raise UsageError(
            f"{name} is a lean sample, which does not tell the teacher's entropy; take a family "
            "with a grid, or a final one"
        )


def check_heldout(
    recipe: Recipe,
    student: StudentFacts,
    heldout: Mapping[str | None, HeldoutSet],
    trained: Mapping[str, Any],
) -> None:
    """Refuses held-out data that the run's evaluation cannot use, or too little of it.

    Args:
      recipe: with the objective and what its best checkpoint is.
      student: facts.
      heldout: head -> what it is evaluated on; None for `data.heldout`.
      trained: families that the terms learn from, by the names that the terms use.

    Raises:
      UsageError: the first thing wrong.
    """
    names: list[str] = []
    for head, (examples, families) in heldout.items():
        where = WHERE if head is None else f"data.heldout_tasks.{head}.labels"
        if head is not None and head not in (*student.heads, "masked_lm"):
            raise UsageError(
                f"data.heldout_tasks: {head!r} is no head of the student; it has "
                f"{', '.join(student.heads) or 'none'}"
            )
        questions = label_questions(student, examples, only=head)
        if not questions and not families:
            raise UsageError(
                f"{examples.directory}: nothing in these examples can be evaluated: the student "
                f"answers {answers_of(student)}, and they have none of these labels"
            )
        names += metric_names(questions, student, families, recipe.objective, where=where)
        _check_families(recipe.objective, families, trained, student, where=where)
    best = recipe.training.best_metric
    if heldout and best not in names:
        raise UsageError(
            f"training.best_metric is {best}, which this evaluation does not give; it gives "
            f"{', '.join(dict.fromkeys(names)) or 'cosines only'}"
        )


def answers_of(student: StudentFacts) -> str:
    """What a student can be asked, for messages."""
    language = {"masked": ["masked tokens"], "next": ["the next token"]}
    tasks = [f"{name} ({head.kind})" for name, head in student.heads.items()]
    return ", ".join([*language.get(student.language or "", []), *tasks]) or "nothing"


def metric_names(
    questions: Sequence[Question],
    student: StudentFacts,
    families: Mapping[str, Family],
    terms: Sequence[Term],
    *,
    where: str = WHERE,
) -> list[str]:
    """Names, behind `eval/`, of the metrics of an evaluation; without cosines."""
    names = [name for question in questions for name in question.metrics]
    for family in families.values():
        if isinstance(family.signal, TaskSignal):
            head = head_of_family(student, family, terms, where=where)
            names.append(f"kl{suffix_of(student, head)}")
        elif isinstance(family.signal, SparseSignal | FinalSignal):
            names.append("kl")
    return names


def _check_families(
    terms: Sequence[Term],
    families: Mapping[str, Family],
    trained: Mapping[str, Any],
    student: StudentFacts,
    *,
    where: str,
) -> None:
    family = distribution_of(families, where=where)
    if family is not None:
        check_distribution(family, student=student, where=where)
    for name, family in families.items():
        theirs = {
            getattr(trained[name].signal, "layer", None) for t in terms if t.signals == (name,)
        }
        if isinstance(family.signal, HiddenSignal) and theirs - {family.signal.layer}:
            raise UsageError(
                f"{where}: {name!r} holds layer {family.signal.layer} of the teacher, and the "
                f"objective learns from its layer {theirs.pop()}"
            )
    widths = {
        i: trained[t.signal].hidden_dim
        for i, t in enumerate(terms)
        if isinstance(t, HiddenTerm) and t.projection != "none"
    }
    hidden_dim = student.architecture.hidden_dim
    compared_layers(terms, families, hidden_dim=hidden_dim, widths=widths, where=where)


def compared_layers(
    terms: Sequence[Term],
    heldout: Mapping[str, Family],
    *,
    hidden_dim: int,
    widths: Mapping[int, int],
    where: str = WHERE,
) -> tuple[Comparison, ...]:
    """The layers whose cosines an evaluation of a run reports.

    Args:
      terms: of the objective.
      heldout: families of the held-out examples.
      hidden_dim: of the student.
      widths: index of a term that has a projection -> width that it leads to.
      where: the setting, for messages.

    Raises:
      UsageError: a hidden family that no term compares a layer with, or that has another width.
    """
    found: list[Comparison] = []
    for name, family in heldout.items():
        if not isinstance(family.signal, HiddenSignal):
            continue
        before = len(found)
        for index, term in enumerate(terms):
            if not isinstance(term, HiddenTerm) or term.signal != name:
                continue
            if family.hidden_dim != widths.get(index, hidden_dim):
                after = "after their projection " if index in widths else ""
                raise UsageError(
                    f"{where}: {name!r} is {family.hidden_dim} wide and the student's states "
                    f"{after}{widths.get(index, hidden_dim)}"
                )
            label = layer_name(name, term.student_layer, taken=[c.name for c in found])
            own = index if index in widths else None
            found.append(Comparison(name=label, family=name, layer=term.student_layer, term=own))
        # Terms that compare sets of layers, or rows, give no cosine of one layer.
        if len(found) == before and not any(name in term.signals for term in terms):
            raise UsageError(
                f"{where}: {name!r} holds states, and no term of the objective compares a layer "
                "with a signal of that name"
            )
    return tuple(found)


def layer_name(family: str, layer: int, *, taken: Sequence[str] = ()) -> str:
    """`states_layer3`, and with a number where two terms compare the same."""
    name = f"{family}_layer{layer}"
    same = sum(other == name or other.startswith(f"{name}_") for other in taken)
    return f"{name}_{same + 1}" if same else name
