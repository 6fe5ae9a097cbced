"""Parts of a run that follow each other: other losses, other rates, other frozen variables.

What a stage leaves out is as in the recipe. `stage_settings` says what its recipe would be if it
were a run of its own, which is how it is checked and run.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from train.recipe.data import Data
from train.recipe.optimizer import Optimizer
from train.recipe.term import Term

__all__ = [
    "Stage",
    "check_signals",
    "check_stages",
    "check_used",
    "stage_objective",
    "stage_settings",
    "told_of_stage",
]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
Setting = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a run. It starts from the weights of the stage before, with a new optimiser."""

    name: str
    """Of its directory: letters, digits, - and _."""

    steps: int
    """Updates, at most; of a gradual stage, of each of its parts."""

    objective: tuple[Term, ...] = ()
    """Its losses; empty for the recipe's."""

    data: Data | None = None
    """What it reads; null for the recipe's."""

    freeze: tuple[str, ...] = ()
    """Variables that this and the stages after it leave alone, as `model.freeze` names them."""

    unfreeze: tuple[str, ...] | Literal["layer_by_layer"] = ()
    """Variables that stages before have frozen and that are trained from here on; what
    `model.freeze` names stays as it is. layer_by_layer: a gradual stage, which frees the student's
    layers one after the other, from the last one down to the embeddings."""

    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """A gradual stage by named groups of variables: all are frozen first, then freed one after the
    other, in the order in which they are written."""

    optimizer: dict[str, Setting] = field(default_factory=dict)
    """Settings of the recipe's optimiser that are others here, such as learning_rate."""

    patience: int | None = None
    """`training.patience` of this stage; null for the recipe's."""

    def __post_init__(self) -> None:
        """Refuses names that are no directory's, and two ways of freeing at once."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name!r}; expected letters, digits, - and _")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")
        if self.patience is not None and self.patience < 0:
            raise ValueError(f"patience is {self.patience}; it must be at least 0")
        if self.groups and self.unfreeze:
            raise ValueError("groups are freed one after the other; leave unfreeze out")
        for name, patterns in self.groups.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"groups.{name}: expected letters, digits, - and _")
            if not patterns:
                raise ValueError(f"groups.{name} is empty; name variables")

    @property
    def is_gradual(self) -> bool:
        """Whether it stands for a row of stages."""
        return bool(self.groups) or self.unfreeze == "layer_by_layer"


def check_stages(recipe: Any) -> None:
    """Refuses stages that do not go together with each other or with the rest of the recipe."""
    stages: tuple[Stage, ...] = recipe.stages
    if recipe.training.steps:
        raise ValueError("training.steps has no effect with stages, which have steps of their own")
    names = [stage.name for stage in stages]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"stages[{number}].name is {name!r}, as that of a stage before")
    if recipe.objective and all(stage.objective for stage in stages):
        raise ValueError("objective has no effect: every stage has one of its own")
    if all(stage.data for stage in stages):
        raise ValueError("data has no effect: every stage has its own; give the first one's there")
    frozen = False
    for number, stage in enumerate(stages):
        frozen = frozen or bool(stage.freeze)
        if stage.unfreeze and stage.unfreeze != "layer_by_layer" and not frozen:
            raise ValueError(f"stages[{number}].unfreeze: no stage up to this one freezes anything")
        frozen = frozen or stage.is_gradual
    _check_labels(recipe)


def stage_objective(recipe: Any, number: int) -> tuple[Term, ...]:
    """The terms of a stage."""
    stage: Stage = recipe.stages[number]
    terms: tuple[Term, ...] = stage.objective or recipe.objective
    if not terms:
        raise ValueError(f"stages[{number}] has no objective, and neither has the recipe")
    return terms


def stage_settings(recipe: Any, number: int) -> dict[str, Any]:
    """What differs between a recipe with stages and that of one of them, run on its own.

    Raises:
      ValueError: settings of the stage that are none; begins with their path.
    """
    stage: Stage = recipe.stages[number]
    terms = stage_objective(recipe, number)
    patience = recipe.training.patience if stage.patience is None else stage.patience
    return {
        "name": f"{recipe.name}: {stage.name}",
        "data": stage.data or _used_data(recipe, terms),
        "objective": terms,
        "optimizer": _optimizer(recipe.optimizer, stage, f"stages[{number}].optimizer"),
        "training": dataclasses.replace(recipe.training, steps=stage.steps, patience=patience),
        "stages": (),
    }


def told_of_stage(message: str, stage: Stage, number: int) -> str:
    """A message about a stage's own recipe, with the paths that the whole recipe has."""
    block = message.partition("[")[0].partition(".")[0].partition(":")[0].partition(" ")[0]
    if block in ("objective", "data", "optimizer") and getattr(stage, block):
        return f"stages[{number}].{message}"
    if message.startswith("model.freeze") and (stage.freeze or stage.unfreeze or stage.groups):
        name = "freeze" if stage.freeze else "groups" if stage.groups else "unfreeze"
        return f"stages[{number}].{name}{message.removeprefix('model.freeze')}"
    if message.startswith("training.patience") and stage.patience:
        return f"stages[{number}].{message.removeprefix('training.')}"
    return message


def check_signals(terms: Sequence[Term], data: Data, *, path: str = "objective") -> None:
    """Refuses terms on signals and corpora that are not there.

    Raises:
      ValueError: the first one; begins with its path, in which `path` is the list of terms.
    """
    names = set(data.signal_names)
    corpora = tuple(corpus.name for corpus in data.corpora)
    for index, term in enumerate(terms):
        corpus = getattr(term, "corpus", None)
        if corpus not in (None, *corpora):
            raise ValueError(
                f"{path}[{index}].corpus is {corpus!r}, which is not in data.corpora "
                f"({', '.join(corpora) or 'none'})"
            )
        if missing := sorted(set(term.signals) - names):
            known = ", ".join(sorted(names)) or "none"
            raise ValueError(
                f"{path}[{index}].{_setting(term, missing[0])} is {missing[0]!r}, which is not in "
                f"{_labels_of(data)} ({known})"
            )


def check_used(data: Data, used: set[str], *, who: str) -> None:
    """Refuses signals that nobody uses."""
    if unused := sorted(set(data.signal_names) - used):
        where = _labels_of(data)
        for index, corpus in enumerate(data.corpora):
            if data.teacher is None and unused[0] in corpus.labels:
                where = f"data.corpora[{index}].labels"
                break
        raise ValueError(f"{where}.{unused[0]}: no term of {who} uses it; leave it out")


def _labels_of(data: Data) -> str:
    return "data.labels" if data.teacher is None else "data.teacher.signals"


def _setting(term: Term, signal: str) -> str:
    """The field of a term that names a signal."""
    for entry in dataclasses.fields(term):
        value = getattr(term, entry.name)
        if value == signal and entry.name != "loss":
            return entry.name
        if isinstance(value, tuple) and signal in value:
            return f"{entry.name}[{value.index(signal)}]"
    return "signal"


def _optimizer(settings: Optimizer, stage: Stage, where: str) -> Optimizer:
    known = [entry.name for entry in dataclasses.fields(settings)]
    for name in stage.optimizer:
        if name not in known:
            raise ValueError(f"{where}.{name} is no setting of it; known: {', '.join(known)}")
    if not stage.optimizer:
        return settings
    plain = {**yaml_file.to_plain(settings), **yaml_file.to_plain(stage.optimizer)}
    try:
        return yaml_file.from_plain(Optimizer, plain, where)
    except UsageError as error:
        text = str(error).removeprefix(f"{where}: ")
        raise ValueError(f"{where}.{text}" if text[0].isalpha() else f"{where}: {text}") from error


def _used_data(recipe: Any, terms: tuple[Term, ...]) -> Data:
    """The recipe's data without the labels that no term of the stage uses."""
    data: Data = recipe.data
    used = {signal for term in terms for signal in term.signals}
    teacher = data.teacher
    if teacher is not None:
        signals = {name: signal for name, signal in teacher.signals.items() if name in used}
        teacher = dataclasses.replace(teacher, signals=signals) if signals else None
    masked = teacher is not None or not all(term.signals for term in terms)
    return dataclasses.replace(
        data,
        labels=_only(data.labels, used),
        corpora=tuple(
            dataclasses.replace(corpus, labels=_only(corpus.labels, used))
            for corpus in data.corpora
        ),
        teacher=teacher,
        masking=data.masking if masked else None,
        heldout_labels=_used_heldout(recipe, terms),
    )


def _used_heldout(recipe: Any, terms: tuple[Term, ...]) -> dict[str, str]:
    """Held-out labels without the states that only other stages compare layers with."""
    everywhere = [term for stage in recipe.stages for term in stage.objective]
    compared = {s for t in (*everywhere, *recipe.objective) if t.student_layers for s in t.signals}
    here = {signal for term in terms if term.student_layers for signal in term.signals}
    labels: dict[str, str] = recipe.data.heldout_labels
    return {name: path for name, path in labels.items() if name in here or name not in compared}


def _only(labels: dict[str, str], used: set[str]) -> dict[str, str]:
    return {name: path for name, path in labels.items() if name in used}


def _check_labels(recipe: Any) -> None:
    """Refuses signals that are not there, and labels that no stage uses."""
    used: set[str] = set()
    for number, stage in enumerate(recipe.stages):
        if stage.data is None:
            terms = stage_objective(recipe, number)
            path = f"stages[{number}].objective" if stage.objective else "objective"
            check_signals(terms, recipe.data, path=path)
            used |= {signal for term in terms for signal in term.signals}
    check_used(recipe.data, used, who="any stage")
