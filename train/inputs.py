"""Everything a run reads, opened and checked against its recipe before anything starts.

No TensorFlow: a mistake in a recipe is reported within a second.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import Architecture
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.config.place import remembered
from limbeck.models.constructions.build import student_shape
from limbeck.order import Mixture, Order, TwoLevel
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from limbeck.weights.hf_folder import read_any_architecture
from train.evaluation.heldout import HeldoutSet, check_heldout
from train.reading.batch import base_list
from train.reading.corpora import open_corpora, open_heldout, open_heldout_tasks
from train.reading.coverage import check_corpora, check_label_fields
from train.reading.families import Family
from train.reading.live import LiveFamily, LiveLabels, open_live
from train.reading.masking import Masker, open_masker
from train.reading.mixture import Corpora
from train.recipe import ModelInit, Recipe, StudentFacts, Term
from train.stream import Source
from train.students.student_plan import StudentPlan, plan_student
from train.students.trained import check_names

__all__ = ["Inputs", "open_inputs", "student_architecture"]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run reads."""

    recipe: Recipe
    """The settings that all of this was checked against."""

    plan: StudentPlan
    """What the student is to be."""

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

    heldout_tasks: Mapping[str, HeldoutSet] = field(default_factory=dict)
    """Head of the student -> inputs to evaluate it on, and label families of those."""

    @property
    def heldout_sets(self) -> Mapping[str | None, HeldoutSet]:
        """All that is evaluated on, by head; None for `heldout`."""
        sets: dict[str | None, HeldoutSet] = {}
        if self.heldout is not None:
            sets[None] = (self.heldout, self.heldout_families)
        return sets | {name: found for name, found in self.heldout_tasks.items()}

    @property
    def architecture(self) -> Architecture:
        """The student's."""
        return self.plan.architecture

    @property
    def examples(self) -> Dataset:
        """Training inputs of the first corpus."""
        return self.corpora.parts[0].examples

    @property
    def families(self) -> Mapping[str, Family | LiveFamily]:
        """Of all corpora, by the names that terms use."""
        if self.live is not None:
            return self.live.families
        return self.corpora.families

    @property
    def student(self) -> StudentFacts:
        """What is known of the student before it is made."""
        return self.plan.facts

    @property
    def num_rows(self) -> int:
        """Rows of all corpora."""
        return self.corpora.num_rows

    @property
    def order(self) -> Order | Mixture:
        """The order of the training rows."""
        training = self.recipe.training
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
        return Mixture(orders, self.recipe.data.shares([order.num_rows for order in orders]))

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
        outside a family's grid, a layer that is not there, widths that need a projection, a name to
        freeze that no variable has, a loss of one's own without its formula.
    """
    _check_types(recipe)
    data = recipe.data
    shape = student_architecture(recipe.model)
    corpora = open_corpora(data, shape, model=recipe.model.checkpoint)
    check_label_fields(corpora, recipe.objective)
    plan = plan_student(
        recipe.model,
        shape,
        terms=recipe.objective,
        corpora={part.name: part.examples for part in corpora.parts},
    )
    if data.masking is not None and plan.facts.language == "next":
        raise UsageError(
            "data.masking has no effect on a causal LM, which predicts the next token; leave it out"
        )
    masker = open_masker(data.masking, corpora, seed=recipe.seed, vocab_size=shape.vocab_size)
    live = None
    families: Mapping[str, Family | LiveFamily] = corpora.families
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
        _check_term(index, term, families, plan.facts)
    check_corpora(corpora, recipe.objective, families, masker=masker)
    heldout, heldout_families = open_heldout(data, shape, model=recipe.model.checkpoint)
    inputs = Inputs(
        recipe=recipe,
        plan=plan,
        corpora=corpora,
        masker=masker,
        live=live,
        heldout=heldout,
        heldout_families=heldout_families,
        heldout_tasks=open_heldout_tasks(data, shape, model=recipe.model.checkpoint),
    )
    check_heldout(recipe, plan.facts, inputs.heldout_sets, families)
    _ = inputs.order  # refuses weights and boundaries that do not go together
    check_names(inputs)
    _check_formulas(recipe, plan.facts)
    return inputs


def student_architecture(model: ModelInit) -> Architecture:
    """The student's shape, read from the checkpoint's configuration where it starts from one.

    Raises:
      UsageError: the folder is no checkpoint, lacks a layer, does not allow a construction, or
        has another shape than the recipe.
    """
    if model.start == "random":
        given = model.decoder or model.architecture
        assert given is not None  # ModelInit sees to it
        return given
    assert model.checkpoint is not None
    shape = read_any_architecture(model.checkpoint)
    if isinstance(shape, EncoderArchitecture) == model.is_decoder:
        what, needs = "a decoder", "an encoder"
        if model.is_decoder:
            what, needs = needs, what
        name = "heads" if model.heads else f"head {model.head}"
        raise UsageError(
            f"model.head: {model.checkpoint} is {what} ({shape.family}), and {name} needs {needs}"
        )
    if model.layers is not None:
        if bad := [layer for layer in model.layers if not 1 <= layer <= shape.num_layers]:
            raise UsageError(
                f"model.layers names layer {bad[0]}, but {model.checkpoint} has 1 to "
                f"{shape.num_layers}"
            )
        shape = dataclasses.replace(shape, num_layers=len(model.layers))
    if isinstance(shape, EncoderArchitecture):
        shape = _constructed(shape, model)
    given = model.decoder or model.architecture
    if given is None:
        return shape
    if changes := shape.differences(given):  # type: ignore[arg-type]
        name = "decoder" if model.is_decoder else "architecture"
        raise UsageError(
            f"model.{name} is not what {model.checkpoint} gives: {'; '.join(changes)}; "
            f"leave {name} out to take the checkpoint's"
        )
    return given  # with dropout rates of its own


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


def _check_types(recipe: Recipe) -> None:
    """Holds a recipe that was made in Python to the types that one from a file must have.

    Raises:
      UsageError: a setting of another type, or none of its choices; begins with its path.
    """
    if remembered(recipe) is None:
        yaml_file.from_plain(Recipe, yaml_file.to_plain(recipe), "recipe")


def _check_formulas(recipe: Recipe, student: StudentFacts) -> None:
    """Looks for the formulas of losses of one's own; their modules load TensorFlow anyway."""
    own = type(recipe).__module__
    if all(type(term).__module__.startswith(f"{own}.") for term in recipe.objective):
        return
    from train.objective import check_formulas

    check_formulas(recipe.objective, student)


def _check_term(
    index: int,
    term: Term,
    families: Mapping[str, Family | LiveFamily],
    student: StudentFacts,
) -> None:
    own = [families[name] for name in term.signals]
    try:
        term.check(own, student)
        if (
            student.language == "next"
            and term.wants(own).logits
            and base_list(term.list_name(own)) == "masked"
        ):
            raise UsageError(
                f"signal: {term.signals[0]!r} is compared at masked positions, and a causal LM "
                "predicts the next token; take a family with positions: all, at all of them"
            )
    except (UsageError, ValueError) as error:  # a term of one's own may raise either
        raise UsageError(f"objective[{index}].{error}") from error
