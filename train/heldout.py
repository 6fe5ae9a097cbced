"""Which held-out families an evaluation can use, and for what. No TensorFlow.

A sparse or final family gives the KL from the teacher, at T = 1. A hidden family gives the cosine
between the teacher's states and those of a layer of the student: of the layers that the objective's
terms compare with the family of the same name, through the terms' projections. Partial families
count the rows that they have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from train.families import Family
from train.recipe import Recipe, Term

__all__ = [
    "KL_TEMPERATURE",
    "Comparison",
    "check_distribution",
    "check_heldout",
    "compared_layers",
    "distribution_of",
    "layer_name",
]

KL_TEMPERATURE = 1.0
WHERE = "data.heldout_labels"


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
    """The family that gives the KL; None where there is none.

    Raises:
      UsageError: several, or a kind of signal that an evaluation has no use for.
    """
    found = None
    for name, family in families.items():
        if isinstance(family.signal, HiddenSignal):
            continue
        if not isinstance(family.signal, SparseSignal | FinalSignal):
            raise UsageError(
                f"{where}: {name!r} holds a {family.signal.kind} signal; an evaluation uses "
                "sparse, final and hidden ones"
            )
        if found is not None:
            raise UsageError(
                f"{where}: {found.name!r} and {name!r} both give the teacher's distribution; "
                "leave one out"
            )
        found = family
    return found


def check_distribution(family: Family, *, vocab_size: int, where: str = WHERE) -> None:
    """Refuses a family that cannot give a KL at T = 1.

    Raises:
      UsageError: labels elsewhere than at masked positions, a decoder of another vocabulary, a grid
        without T = 1, or a lean sample, which does not tell the teacher's entropy.
    """
    signal, name = family.signal, f"{where}: {family.name!r}"
    if signal.positions != "masked":
        raise UsageError(f"{name} has positions: {signal.positions}; KL needs masked ones")
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
    heldout: Mapping[str, Family],
    trained: Mapping[str, Any],
    shape: EncoderArchitecture,
) -> None:
    """Refuses held-out families that the run's evaluation cannot use, or too few of them.

    Args:
      recipe: with the objective and what its best checkpoint is.
      heldout: families of the held-out examples.
      trained: families that the terms learn from, by the names that the terms use.
      shape: of the student.

    Raises:
      UsageError: the first thing wrong.
    """
    family = distribution_of(heldout)
    if family is not None:
        check_distribution(family, vocab_size=shape.vocab_size)
    elif recipe.training.best_metric == "kl":
        raise UsageError(
            f"training.best_metric is kl, which needs a sparse or final family in {WHERE}"
        )
    terms = list(enumerate(recipe.objective))
    for name, family in heldout.items():
        theirs = {
            getattr(trained[name].signal, "layer", None) for _, t in terms if t.signal == name
        }
        if isinstance(family.signal, HiddenSignal) and theirs - {family.signal.layer}:
            raise UsageError(
                f"{WHERE}: {name!r} holds layer {family.signal.layer} of the teacher, and the "
                f"objective learns from its layer {theirs.pop()}"
            )
    widths = {
        i: trained[t.signal].hidden_dim
        for i, t in terms
        if t.projection != "none" and t.signal is not None
    }
    compared_layers(recipe.objective, heldout, hidden_dim=shape.hidden_dim, widths=widths)


def compared_layers(
    terms: Sequence[Term],
    heldout: Mapping[str, Family],
    *,
    hidden_dim: int,
    widths: Mapping[int, int],
) -> tuple[Comparison, ...]:
    """The layers whose cosines an evaluation of a run reports.

    Args:
      terms: of the objective.
      heldout: families of the held-out examples.
      hidden_dim: of the student.
      widths: index of a term that has a projection -> width that it leads to.

    Raises:
      UsageError: a hidden family that no term compares a layer with, or that has another width.
    """
    found: list[Comparison] = []
    for name, family in heldout.items():
        if not isinstance(family.signal, HiddenSignal):
            continue
        before = len(found)
        for index, term in enumerate(terms):
            if term.signal != name or term.student_layer is None:
                continue
            if family.hidden_dim != widths.get(index, hidden_dim):
                after = "after their projection " if index in widths else ""
                raise UsageError(
                    f"{WHERE}: {name!r} is {family.hidden_dim} wide and the student's states "
                    f"{after}{widths.get(index, hidden_dim)}"
                )
            label = layer_name(name, term.student_layer, taken=[c.name for c in found])
            own = index if index in widths else None
            found.append(Comparison(name=label, family=name, layer=term.student_layer, term=own))
        if len(found) == before:
            raise UsageError(
                f"{WHERE}: {name!r} holds states, and no term of the objective compares a layer "
                "with a signal of that name"
            )
    return tuple(found)


def layer_name(family: str, layer: int, *, taken: Sequence[str] = ()) -> str:
    """`states_layer3`, and with a number where two terms compare the same."""
    name = f"{family}_layer{layer}"
    same = sum(other == name or other.startswith(f"{name}_") for other in taken)
    return f"{name}_{same + 1}" if same else name
