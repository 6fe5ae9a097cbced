"""The corpora and held-out data of a recipe, opened; they fit the student and each other."""

import dataclasses

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels.signals import to_dict
from limbeck.models.constructions.vocabulary import refuse_untrimmed
from limbeck.records.dataset import Dataset
from limbeck.records.examples import refuse_unmasked
from limbeck.records.mapped import map_files
from limbeck.tokens import refuse_other_tokenizer
from train.families import Family, open_examples, open_family
from train.mixture import Corpora, CorpusInputs
from train.recipe import Data

__all__ = ["check_examples_fit", "open_corpora", "open_heldout"]


def open_corpora(data: Data, shape: EncoderArchitecture, *, model: str | None) -> Corpora:
    """Opens the examples and families of every corpus.

    Raises:
      LimbeckError: as `open_inputs`; or corpora whose families hold other signals.
    """
    parts = []
    for corpus in data.parts:
        examples = open_examples(corpus.examples)
        check_examples_fit(examples, shape, model=model)
        families = {
            name: open_family(name, directory, examples, vocab_size=shape.vocab_size)
            for name, directory in corpus.labels.items()
        }
        if data.reading == "mapped":
            for dataset in (examples, *(family.dataset for family in families.values())):
                map_files(dataset)
        parts.append(CorpusInputs(name=corpus.name, examples=examples, families=families))
    for name, first in parts[0].families.items():
        for part in parts[1:]:
            _check_same_signal(name, parts[0], part)
        if any(part.families[name].is_partial for part in parts) and not first.is_partial:
            # Every corpus' rows then stand in the family's own list.
            for part in parts:
                families = dict(part.families)
                families[name] = dataclasses.replace(families[name], is_partial=True)
                parts[parts.index(part)] = dataclasses.replace(part, families=families)
    return Corpora(tuple(parts))


def _check_same_signal(name: str, first: CorpusInputs, other: CorpusInputs) -> None:
    """Refuses a family whose entries are not those of the first corpus'."""
    mine, theirs = (to_dict(part.families[name].signal) for part in (first, other))
    if different := sorted(
        field for field in {*mine, *theirs} - {"records"} if mine.get(field) != theirs.get(field)
    ):
        field = different[0]
        raise UsageError(
            f"labels {name!r}: {field} is {mine.get(field)!r} in {first.name} and "
            f"{theirs.get(field)!r} in {other.name}; one term learns from both, so extract them "
            "alike"
        )


def open_heldout(
    data: Data, shape: EncoderArchitecture, *, model: str | None
) -> tuple[Dataset | None, dict[str, Family]]:
    """Opens the examples to evaluate on, and families of them; `train.heldout` says which may be.

    Raises:
      LimbeckError: as `open_inputs`; or examples without masks.
    """
    if data.heldout is None:
        return None, {}
    heldout = open_examples(data.heldout)
    refuse_unmasked(heldout.layout, examples=data.heldout, who="evaluation")
    check_examples_fit(heldout, shape, model=model)
    families = {
        name: open_family(name, directory, heldout, vocab_size=shape.vocab_size)
        for name, directory in data.heldout_labels.items()
    }
    return heldout, families


def check_examples_fit(
    examples: Dataset, shape: EncoderArchitecture, *, model: str | None = None
) -> None:
    """Refuses examples that a student cannot read.

    Args:
      examples: with what their manifest says of the tokenizer.
      shape: of the student.
      model: folder that the student starts from; None where there is none.

    Raises:
      UsageError: another vocabulary or tokenizer, or rows longer than the student's positions.
    """
    if model is not None:
        refuse_untrimmed(examples.content.tokenizer, examples=str(examples.directory), model=model)
        refuse_other_tokenizer(
            examples.content.tokenizer,
            examples=examples.directory,
            model=model,
            vocab_size=shape.vocab_size,
        )
    tokenizer = examples.content.tokenizer or {}
    vocab_size = tokenizer.get("vocab_size", shape.vocab_size)
    if vocab_size != shape.vocab_size:
        raise UsageError(
            f"{examples.directory}: the tokenizer's vocabulary has {vocab_size} ids and the "
            f"student's {shape.vocab_size}"
        )
    seq_length = examples.layout.field("ids").shape[0]
    if seq_length is not None and seq_length > shape.max_positions:
        raise UsageError(
            f"{examples.directory}: rows have up to {seq_length} tokens and the student "
            f"{shape.max_positions} positions"
        )
