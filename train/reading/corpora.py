"""The corpora and held-out data of a recipe, opened; they fit the student and each other."""

from collections.abc import Mapping

import numpy as np

from limbeck.architectures.hf_config import Architecture
from limbeck.config.errors import UsageError
from limbeck.labels.signals import to_dict
from limbeck.models.constructions.vocabulary import refuse_untrimmed
from limbeck.records.dataset import Dataset
from limbeck.records.mapped import map_files
from limbeck.tokens import refuse_other_tokenizer
from train.reading.corpus import CorpusInputs, arrays_of_no_rows
from train.reading.families import Family, open_examples, open_family
from train.reading.mixture import Corpora
from train.recipe import Corpus, Data

__all__ = ["check_examples_fit", "open_corpora", "open_heldout", "open_heldout_tasks"]

LAYER_FACTS = ("num_heads", "num_kv_heads", "head_dim", "mask", "rotary")


def open_corpora(data: Data, shape: Architecture, *, model: str | None) -> Corpora:
    """Opens the examples and families of every corpus.

    Raises:
      LimbeckError: as `open_inputs`; or corpora whose families of one name hold other signals, or
        whose rows cannot stand in one batch.
    """
    corpora = Corpora(tuple(_open_part(corpus, data, shape, model) for corpus in data.parts))
    for name in corpora.families:
        first, *others = (part for part in corpora.parts if name in part.families)
        for other in others:
            _check_same_signal(name, first, other)
    _ = corpora.fields  # refuses rows that cannot stand in one batch
    return corpora


def open_heldout(
    data: Data, shape: Architecture, *, model: str | None
) -> tuple[Dataset | None, dict[str, Family]]:
    """Opens the examples to evaluate on, and the families that `train.evaluation.heldout` allows.

    Raises:
      LimbeckError: as `open_inputs`.
    """
    if data.heldout is None:
        return None, {}
    return _open(data.heldout, data.heldout_labels, shape, model)


def open_heldout_tasks(
    data: Data, shape: Architecture, *, model: str | None
) -> dict[str, tuple[Dataset, dict[str, Family]]]:
    """Opens the examples of each task to evaluate on, with their families.

    Raises:
      LimbeckError: as `open_inputs`.
    """
    return {
        name: _open(task.examples, task.labels, shape, model)
        for name, task in data.heldout_tasks.items()
    }


def _open_part(corpus: Corpus, data: Data, shape: Architecture, model: str | None) -> CorpusInputs:
    examples, families = _open(corpus.examples, corpus.labels, shape, model)
    part = CorpusInputs(name=corpus.name, examples=examples, families=families)
    if data.reading == "mapped":
        for dataset in part.datasets:
            map_files(dataset)
    return part


def _open(
    directory: str, labels: Mapping[str, str], shape: Architecture, model: str | None
) -> tuple[Dataset, dict[str, Family]]:
    """Examples that fit a student, and their families."""
    examples = open_examples(directory)
    check_examples_fit(examples, shape, model=model)
    families = {
        name: open_family(name, family, examples, vocab_size=shape.vocab_size)
        for name, family in labels.items()
    }
    return examples, families


def _check_same_signal(name: str, first: CorpusInputs, other: CorpusInputs) -> None:
    """Refuses a family whose entries are not those of the first corpus that has it."""
    mine, theirs = first.families[name], other.families[name]
    facts = [to_dict(family.signal) for family in (mine, theirs)]
    for field in sorted({*facts[0], *facts[1]} - {"records"}):
        one, two = (fact.get(field) for fact in facts)
        if one != two:
            raise _unlike(name, f"{field} is {one!r} in {first.name} and {two!r} in {other.name}")
    shapes = [_shapes(family) for family in (mine, theirs)]
    if shapes[0] != shapes[1]:
        raise _unlike(
            name, f"decoded, it is {shapes[0]} in {first.name} and {shapes[1]} in {other.name}"
        )
    if different := _other_fact(mine, theirs) or _other_tensor(mine, theirs):
        raise _unlike(name, f"{different} is not the same in {first.name} and {other.name}")


def _shapes(family: Family) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types of what losses read at a position; attention may be over fewer tokens."""
    last = -1 if family.signal.kind == "attention" else None
    fields = arrays_of_no_rows(family).fields
    return {name: (array.shape[1:][:last], array.dtype.name) for name, array in fields.items()}


def _other_fact(one: Family, other: Family) -> str | None:
    """What is known of the teacher's layer, and differs."""
    mine, theirs = one.fitted.chosen, other.fitted.chosen
    return next((fact for fact in LAYER_FACTS if mine.get(fact) != theirs.get(fact)), None)


def _other_tensor(one: Family, other: Family) -> str | None:
    """A matrix of the teacher that formulas read, and that differs; a codec's own may differ."""
    names = {*one.fitted.tensors, *other.fitted.tensors}
    for name in sorted(name for name in names if "/" in name):
        mine, theirs = one.fitted.tensors.get(name), other.fitted.tensors.get(name)
        if mine is None or theirs is None or not np.array_equal(mine, theirs):
            return name
    return None


def _unlike(name: str, what: str) -> UsageError:
    return UsageError(
        f"labels {name!r}: {what}; one term learns from both, so extract them alike, or give one "
        "of them another name and a term of its own"
    )


def check_examples_fit(examples: Dataset, shape: Architecture, *, model: str | None = None) -> None:
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
