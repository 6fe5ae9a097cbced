"""Everything a run reads, opened and checked against its recipe before anything starts.

No TensorFlow: a mistake in a recipe is reported within a second.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from limbeck.models.constructions.build import student_shape
from limbeck.order import Mixture, Order, TwoLevel, whole_weights
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.records.examples import refuse_unmasked
from limbeck.weights.hf_folder import read_architecture
from train.corpora import open_corpora, open_heldout
from train.families import Family
from train.heldout import check_heldout
from train.live import LiveFamily, LiveLabels, open_live
from train.masking import Masker, make_masker
from train.mixture import Corpora
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

    corpora: Corpora
    """Training inputs, with their label families by the recipe's names."""

    masker: Masker | None
    """Masks the rows while training."""

    live: LiveLabels | None = None
    """A teacher that answers in place of stored families."""

    heldout: Dataset | None
    """Inputs to evaluate on."""

    heldout_families: Mapping[str, Family]
    """Label families of those."""

    @property
    def examples(self) -> Dataset:
        """Training inputs of the first corpus."""
        return self.corpora.parts[0].examples

    @property
    def families(self) -> Mapping[str, Family | LiveFamily]:
        """The families of the first corpus: what terms need to know of those of all corpora."""
        if self.live is not None:
            return self.live.families
        return self.corpora.parts[0].families

    @property
    def num_rows(self) -> int:
        """Rows of all corpora."""
        return self.corpora.num_rows

    @property
    def order(self) -> Order | Mixture:
        """The order of the training rows."""
        training, parts = self.recipe.training, self.recipe.data.parts
        sizes = None
        if training.order == "two_level":
            sizes = TwoLevel(block_rows=training.order_block, window_blocks=training.order_window)
        orders = tuple(
            Order(
                part.examples.num_rows,
                self.recipe.seed,
                training.order_boundary,
                two_level=sizes,
                name=part.name,
            )
            for part in self.corpora.parts
        )
        if len(orders) == 1:
            return orders[0]
        weights = [
            order.num_rows if part.weight is None else part.weight
            for order, part in zip(orders, parts, strict=True)
        ]
        return Mixture(orders, whole_weights(weights))

    def source(self, world: World, groups: Sequence[str]) -> Source:
        """Where this rank's batches come from."""
        return Source(
            corpora=self.corpora,
            order=self.order,
            global_batch=self.recipe.training.global_batch,
            world=world,
            micro_batch=self.recipe.training.micro_batch,
            groups=groups,
            vocab_size=self.architecture.vocab_size,
            masker=self.masker,
            on_bad=self.recipe.data.on_bad_record,
            live=self.live,
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
    corpora = open_corpora(data, shape, model=recipe.model.checkpoint)
    masker = _open_masker(recipe, corpora, shape)
    live = None
    families: Mapping[str, Family | LiveFamily] = corpora.parts[0].families
    if data.teacher is not None:
        live = open_live(
            data.teacher,
            corpora=corpora,
            masker=masker,
            seed=recipe.seed,
            vocab_size=shape.vocab_size,
        )
        families = live.families
    for index, term in enumerate(recipe.objective):
        if term.signal is not None:
            _check_term(f"objective[{index}]", term, families[term.signal], shape)
    if masker is None and any(_needs_masks(term, families) for term in recipe.objective):
        for part in corpora.parts:
            refuse_unmasked(
                part.examples.layout,
                examples=str(part.examples.directory),
                who="the objective (without data.masking)",
            )
    heldout, heldout_families = open_heldout(data, shape, model=recipe.model.checkpoint)
    check_heldout(recipe, heldout_families, families, shape)
    inputs = Inputs(
        recipe=recipe,
        architecture=shape,
        corpora=corpora,
        masker=masker,
        live=live,
        heldout=heldout,
        heldout_families=heldout_families,
    )
    _ = inputs.order  # refuses weights and boundaries that do not go together
    return inputs


def _open_masker(recipe: Recipe, corpora: Corpora, shape: EncoderArchitecture) -> Masker | None:
    """What masks the rows of every corpus; None where they are stored with masks."""
    masking = recipe.data.masking
    if masking is None:
        return None
    maskers = [
        make_masker(masking, part.examples, seed=recipe.seed, vocab_size=shape.vocab_size)
        for part in corpora.parts
    ]
    return max(maskers, key=lambda m: m.max_predictions)


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


def _needs_masks(term: Term, families: Mapping[str, Family | LiveFamily]) -> bool:
    return term.signal is None or families[term.signal].group == "masked"


def _check_term(
    where: str, term: Term, family: Family | LiveFamily, shape: EncoderArchitecture
) -> None:
    signal = family.signal
    wanted = HiddenSignal if term.loss in HIDDEN_LOSSES else (SparseSignal, FinalSignal)
    if not isinstance(signal, wanted):
        raise UsageError(
            f"{where}: loss {term.loss} cannot learn from {term.signal!r}, which holds a "
            f"{signal.kind} signal"
        )
    if isinstance(signal, SparseSignal | FinalSignal) and signal.positions != "masked":
        raise UsageError(
            f"{where}: loss {term.loss} needs labels at masked positions, where the student's "
            f"logits are; {term.signal!r} has positions: {signal.positions}"
        )
    if isinstance(signal, FinalSignal):
        if family.num_logits != shape.vocab_size:
            raise UsageError(
                f"{where}: the decoder of {term.signal!r} has {family.num_logits} ids and the "
                f"student {shape.vocab_size}"
            )
        return
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
