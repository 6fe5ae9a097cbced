"""Everything a run reads, opened and checked against its recipe before anything starts.

No TensorFlow: a mistake in a recipe is reported within a second.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, SparseSignal
from limbeck.models.constructions.build import student_shape
from limbeck.models.constructions.vocabulary import refuse_untrimmed
from limbeck.order import Order
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.tokens import refuse_other_tokenizer
from limbeck.weights.hf_folder import read_architecture
from train.batch import Group
from train.families import Family, open_examples, open_family
from train.recipe import HIDDEN_LOSSES, ModelInit, Recipe, Term
from train.stream import Source

__all__ = ["Inputs", "open_inputs", "student_architecture"]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run reads."""

    recipe: Recipe
    """The settings that all of this was checked against."""

    architecture: EncoderArchitecture
    """The student's."""

    examples: Dataset
    """Training inputs."""

    families: Mapping[str, Family]
    """Their label families, by the recipe's names."""

    heldout: Dataset | None
    """Inputs to evaluate on."""

    heldout_family: Family | None
    """A sparse family of those."""

    @property
    def order(self) -> Order:
        """The order of the training rows."""
        boundary = self.recipe.training.order_boundary
        return Order(self.examples.num_rows, self.recipe.seed, boundary)

    def source(self, world: World, groups: tuple[Group, ...]) -> Source:
        """Where this rank's batches come from."""
        return Source(
            examples=self.examples,
            families=self.families,
            order=self.order,
            global_batch=self.recipe.training.global_batch,
            world=world,
            micro_batch=self.recipe.training.micro_batch,
            groups=groups,
            vocab_size=self.architecture.vocab_size,
        )


def open_inputs(recipe: Recipe) -> Inputs:
    """Opens every directory that the recipe names and checks that they fit it and each other.

    Raises:
      LimbeckError: the first thing wrong: a missing or damaged directory, labels of other
        examples, another vocabulary, a signal that a term cannot learn from, a temperature
        outside a family's grid, a layer that is not there, widths that need a projection.
    """
    data = recipe.data
    shape = student_architecture(recipe.model)
    examples = open_examples(data.examples)
    check_examples_fit(examples, shape, model=recipe.model.checkpoint)
    families = {
        name: open_family(name, directory, examples, vocab_size=shape.vocab_size)
        for name, directory in data.labels.items()
    }
    for index, term in enumerate(recipe.objective):
        if term.signal is not None:
            _check_term(f"objective[{index}]", term, families[term.signal], shape)
    heldout = heldout_family = None
    if data.heldout is not None:
        heldout = open_examples(data.heldout)
        check_examples_fit(heldout, shape, model=recipe.model.checkpoint)
        if data.heldout_labels is not None:
            heldout_family = open_family(
                "heldout", data.heldout_labels, heldout, vocab_size=shape.vocab_size
            )
            if not isinstance(heldout_family.signal, SparseSignal):
                raise UsageError(f"data.heldout_labels: {data.heldout_labels} is no sparse family")
    return Inputs(
        recipe=recipe,
        architecture=shape,
        examples=examples,
        families=families,
        heldout=heldout,
        heldout_family=heldout_family,
    )


def student_architecture(model: ModelInit) -> EncoderArchitecture:
    """The student's shape, read from the checkpoint's configuration where it starts from one.

    Raises:
      UsageError: the folder is no checkpoint, lacks a layer, does not allow a construction, or
        has another shape than the recipe.
    """
    if model.start == "random":
        assert model.architecture is not None  # ModelInit sees to it
        return model.architecture
    assert model.checkpoint is not None
    shape = read_architecture(model.checkpoint)
    if model.layers is not None:
        if bad := [layer for layer in model.layers if not 1 <= layer <= shape.num_layers]:
            raise UsageError(
                f"model.layers names layer {bad[0]}, but {model.checkpoint} has 1 to "
                f"{shape.num_layers}"
            )
        shape = dataclasses.replace(shape, num_layers=len(model.layers))
    shape = _constructed(shape, model)
    if model.architecture is None:
        return shape
    if changes := shape.differences(model.architecture):
        raise UsageError(
            f"model.architecture is not what {model.checkpoint} gives: {'; '.join(changes)}; "
            "leave architecture out to take the checkpoint's"
        )
    return model.architecture  # with dropout rates of its own


def _constructed(shape: EncoderArchitecture, model: ModelInit) -> EncoderArchitecture:
    for index, step in enumerate(model.construct):
        if step.trim_vocabulary is not None:
            raise UsageError(
                f"model.construct[{index}]: a run cannot trim its student's vocabulary, since its "
                "examples hold the ids of the whole one; make the student's folder first "
                "(python -m limbeck.models.constructions make), prepare examples with the "
                "tokenizer in it, and start from that folder"
            )
    assert model.checkpoint is not None  # ModelInit sees to it
    try:
        return student_shape(shape, model.construct, teacher=model.checkpoint)
    except UsageError as error:
        raise UsageError(f"model.{error}") from error


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


def _check_term(where: str, term: Term, family: Family, shape: EncoderArchitecture) -> None:
    signal = family.signal
    wanted = HiddenSignal if term.loss in HIDDEN_LOSSES else SparseSignal
    if not isinstance(signal, wanted):
        raise UsageError(
            f"{where}: loss {term.loss} cannot learn from {term.signal!r}, which holds a "
            f"{signal.kind} signal"
        )
    if isinstance(signal, SparseSignal):
        if term.temperature not in signal.temperatures:
            raise UsageError(
                f"{where}: temperature {term.temperature:g} is not in the grid of "
                f"{term.signal!r}, {list(signal.temperatures)}; choose one of these or extract "
                "again with it"
            )
        return
    assert term.student_layer is not None  # Term sees to it
    if term.student_layer > shape.num_layers:
        raise UsageError(
            f"{where}: student_layer is {term.student_layer}, but the student has "
            f"{shape.num_layers} layers"
        )
    if term.projection == "none" and family.hidden_dim != shape.hidden_dim:
        raise UsageError(
            f"{where}: the student is {shape.hidden_dim} wide and {term.signal!r} "
            f"{family.hidden_dim}; set projection: linear"
        )
