"""Which corpora of a run feed which terms: nothing may be read that no term learns from. No
TensorFlow.

Rows of a corpus are in a term's list where the corpus has its families (or a live teacher answers),
the label that it reads, and masks where its list is of masked tokens; and where the term is not
bound to another corpus.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.records.examples import refuse_unmasked
from train.reading.batch import base_group
from train.reading.corpus import CorpusInputs
from train.reading.masking import Masker
from train.reading.mixture import Corpora
from train.recipe import Term
from train.recipe.terms.labels import LabelTerm
from train.recipe.terms.logits import LogitTerm

__all__ = ["check_corpora", "check_label_fields"]


def check_corpora(
    corpora: Corpora,
    objective: Sequence[Term],
    families: Mapping[str, Any],
    *,
    masker: Masker | None,
) -> None:
    """Refuses terms that no corpus feeds, and corpora that feed no term.

    Args:
      corpora: opened.
      objective: terms that have been checked against the families.
      families: by name: of all corpora, or of a live teacher.
      masker: masks rows while training; None where nothing does.

    Raises:
      UsageError: names the term or the corpus, and what is missing.
    """
    fed: set[str] = set()
    for index, term in enumerate(objective):
        lacks = {
            part.name: _lacks(term, part, families, masked=_is_masked(corpora, number, masker))
            for number, part in enumerate(corpora.parts)
        }
        here = {name for name, what in lacks.items() if what is None}
        if not here:
            raise _unfed(index, term, corpora, lacks)
        fed |= here
    for part in corpora.parts:
        if part.name not in fed:
            raise UsageError(
                f"data.corpora: {part.name!r} ({part.examples.directory}) feeds no term of the "
                "objective: it has neither the families nor the labels that terms learn from; "
                "leave it out, or add a term"
            )


def check_label_fields(corpora: Corpora, objective: Sequence[Term]) -> None:
    """Refuses terms on labels that no corpus has; before heads are sized by these labels.

    Raises:
      UsageError: names the term and the field.
    """
    for index, term in enumerate(objective):
        if not isinstance(term, LabelTerm) or term.label_field == "mask_ids":
            continue
        lacks = {
            part.name: "another corpus"
            if term.corpus not in (None, part.name)
            else f"the field {term.label_field}"
            for part in corpora.parts
            if term.corpus not in (None, part.name)
            or term.label_field not in part.examples.layout.names
        }
        if len(lacks) == len(corpora.parts):
            raise _unfed(index, term, corpora, lacks)


def _is_masked(corpora: Corpora, number: int, masker: Masker | None) -> bool:
    """Whether rows of a corpus come with masked tokens."""
    if "mask_positions" in corpora.parts[number].examples.layout.names:
        return True
    return masker is not None and (masker.corpora is None or number in masker.corpora)


def _lacks(
    term: Term, part: CorpusInputs, families: Mapping[str, Any], *, masked: bool
) -> str | None:
    """What a corpus lacks to feed a term; None if nothing."""
    if getattr(term, "corpus", None) not in (None, part.name):
        return "another corpus"
    own = [families[name] for name in term.signals]
    stored = {name for name in term.signals if name in families and _is_stored(families[name])}
    if missing := sorted(stored - set(part.families)):
        return f"labels {missing[0]!r}"
    if base_group(term.list_name(own)) == "masked":
        return None if masked else "masked positions"
    label = getattr(term, "label_field", None)
    if isinstance(term, LogitTerm):
        label = term.shifted_to(own)
    return None if label in (None, *part.examples.layout.names) else f"the field {label}"


def _is_stored(family: Any) -> bool:
    return hasattr(family, "dataset")


def _unfed(index: int, term: Term, corpora: Corpora, lacks: Mapping[str, str | None]) -> UsageError:
    """What is wrong with a term that no corpus feeds."""
    bound = getattr(term, "corpus", None)
    parts = [part for part in corpora.parts if bound in (None, part.name)]
    if len(parts) == 1:
        (part,) = parts
        what, where = lacks[part.name], part.examples.directory
        if what == "masked positions":
            who = "the objective (without data.masking)"
            refuse_unmasked(part.examples.layout, examples=str(where), who=who)
        return UsageError(
            f"objective[{index}]: loss {term.loss} needs {what}, which {where} has not; prepare "
            "examples of the kind that has it (docs/preparation.md)"
        )
    found = "; ".join(f"{name} has not {what}" for name, what in lacks.items())
    return UsageError(f"objective[{index}]: no corpus feeds loss {term.loss}: {found}")
