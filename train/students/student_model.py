"""Models of students of every kind: empty, fresh, from a checkpoint; and logits of their heads."""

# m rows, T tokens, C outputs

from typing import Any, cast

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.build import HeadName, empty
from limbeck.models.constructions.model import construct_from_folder
from limbeck.models.dropout import DropoutKeys
from limbeck.models.initialisation import initialise
from limbeck.models.multi_task import HEAD_OF_TASK, Task, multi_task, task_prefix
from limbeck.models.names import named_variables
from limbeck.models.output import EncoderOutput
from limbeck.weights.load import load_model as load_folder
from limbeck.weights.run_folder import HEADS
from train.recipe import ModelInit
from train.recipe.heads import Head
from train.students.student_plan import SEVERAL, StudentPlan

__all__ = [
    "empty_model",
    "fresh_model",
    "load_model",
    "reads_pooled_output",
    "standard_model",
    "task_logits",
]


def empty_model(plan: StudentPlan) -> Any:
    """A built model whose weights are still to be assigned."""
    if plan.kind == SEVERAL:
        tasks = {
            name: Task(kind=head.kind, num_labels=head.num_labels)
            for name, head in plan.heads.items()
        }
        shape = cast(EncoderArchitecture, plan.architecture)
        return multi_task(shape, tasks, language=plan.beside_language)
    return empty(
        plan.architecture,
        head=cast(HeadName, HEADS[plan.kind]),
        num_labels=max([head.num_labels for head in plan.heads.values()], default=2),
    )


def fresh_model(plan: StudentPlan, *, seed: int) -> Any:
    """A model with weights drawn from a seed; see `limbeck.models.build.build`."""
    model = empty_model(plan)
    deviation = plan.architecture.initializer_range
    initialise(named_variables(model), seed=seed, deviation=deviation)
    return model


def load_model(
    settings: ModelInit, plan: StudentPlan, *, seed: int
) -> tuple[Any, str, tuple[str, ...]]:
    """The student's model as the recipe wants it to start.

    Returns:
      The model, where it comes from in words, and the variables that its construction froze.

    Raises:
      UsageError: a checkpoint that does not fit, or without the head where that must be there.
    """
    if settings.start == "random":
        return fresh_model(plan, seed=seed), f"random, seed {seed}", ()
    if settings.construct:
        return _constructed(settings, plan, seed=seed)
    if plan.kind in (SEVERAL, "none"):
        return _around_encoder(settings, plan, seed=seed)
    assert settings.checkpoint is not None  # ModelInit sees to it
    numbers: list[int | None] = [head.num_labels for head in plan.heads.values()]
    model, report = load_folder(
        settings.checkpoint,
        head=cast(HeadName, HEADS[plan.kind]),
        missing_head=settings.missing_head,
        layers=settings.layers,
        architecture=plan.architecture,
        num_labels=(numbers or [None])[0],
        seed=seed,
    )
    return model, str(report).splitlines()[0], ()


def standard_model(model: Any, name: str, head: Head | None) -> Any:
    """A model that does one task of several alone, with the same weights.

    Args:
      model: of kind `several`.
      name: of the task.
      head: its facts; None for the masked LM.
    """
    if head is None:
        alone, here, there = empty(model.architecture, head="masked_lm"), "head/", "head/"
    else:
        what = cast(HeadName, HEAD_OF_TASK[head.kind])
        alone = empty(model.architecture, head=what, num_labels=head.num_labels)
        here, there = task_prefix(name, head.kind)
    values = {
        v.replace(here, there, 1) if v.startswith(here) else v: variable
        for v, variable in named_variables(model).items()
    }
    for variable_name, variable in named_variables(alone).items():
        variable.assign(values[variable_name].value)
    return alone


def reads_pooled_output(plan: StudentPlan, name: str) -> bool:
    """Whether a head reads the pooler's output."""
    kind = plan.heads[name].kind
    pooled = cast(EncoderArchitecture, plan.architecture).classifies_pooled
    return kind == "next_sentence" or (kind == "classification" and pooled)


def task_logits(
    model: Any, name: str, kind: str, encoded: EncoderOutput, *, dropout: DropoutKeys | None
) -> Any:
    """Logits of a task head: (m, C) float32 of rows, (m, T, C) of tokens.

    Args:
      model: the student's.
      name: of the head.
      kind: of the head.
      encoded: with pooled output where the head reads it.
      dropout: of the head too; None for none.
    """
    if hasattr(model, "task_logits"):
        return model.task_logits(name, encoded, dropout=dropout)
    if kind == "next_sentence":
        return model.next_sentence(encoded.pooled, dropout=dropout)
    if kind == "span":
        return model.span(encoded.last, dropout=dropout)
    if kind == "tagging":
        return model.classifier(encoded.last, dropout=dropout)
    state = encoded.pooled if model.pooler is not None else encoded.last[:, 0]
    return model.classifier(state, dropout=dropout)


def _around_encoder(
    settings: ModelInit, plan: StudentPlan, *, seed: int
) -> tuple[Any, str, tuple[str, ...]]:
    """Encoder and pooler of a checkpoint, under heads that start fresh."""
    assert settings.checkpoint is not None
    if plan.heads:
        _refuse_missing(settings, f"heads {', '.join(plan.heads)}")
    found, report = load_folder(
        settings.checkpoint,
        head="encoder",
        layers=settings.layers,
        architecture=plan.architecture,
        seed=seed,
    )
    model = fresh_model(plan, seed=seed)
    if model.pooler is not None and found.pooler is None:
        _refuse_missing(settings, "a pooler")
    _take(model, found)
    if plan.beside_language:
        language, report = load_folder(
            settings.checkpoint,
            head="masked_lm",
            missing_head=settings.missing_head,
            layers=settings.layers,
            architecture=plan.architecture,
            seed=seed,
        )
        _take(model, language)
    return model, str(report).splitlines()[0], ()


def _constructed(
    settings: ModelInit, plan: StudentPlan, *, seed: int
) -> tuple[Any, str, tuple[str, ...]]:
    """A constructed encoder, under the head of a masked LM or under fresh ones."""
    assert settings.checkpoint is not None
    language = plan.kind == "masked_lm"
    if not language and plan.kind != "none":
        _refuse_missing(settings, f"a constructed head of kind {plan.kind}")
    found, made, report = construct_from_folder(
        settings.checkpoint,
        settings.construct,
        seed=seed,
        missing_head=settings.missing_head if language else "initialise",
        architecture=cast(EncoderArchitecture, plan.architecture),
    )
    origin = "; ".join([str(report).splitlines()[0], *made.lines])
    if language:
        return found, origin, made.frozen
    model = fresh_model(plan, seed=seed)
    _take(model, found, parts=("encoder", "head") if plan.beside_language else ("encoder",))
    names = set(named_variables(model))
    return model, origin, tuple(name for name in made.frozen if _is_there(name, names))


def _take(model: Any, source: Any, *, parts: tuple[str, ...] | None = None) -> None:
    """Takes the values of the variables that another model has under the same names."""
    variables = named_variables(model)
    for name, variable in named_variables(source).items():
        if name in variables and (parts is None or name.split("/")[0] in parts):
            variables[name].assign(variable.value)


def _is_there(pattern: str, names: set[str]) -> bool:
    stem = pattern.removesuffix("/")
    return any(name == stem or name.startswith(f"{stem}/") for name in names)


def _refuse_missing(settings: ModelInit, what: str) -> None:
    if settings.missing_head == "error":
        raise UsageError(
            f"model.missing_head is error, and {settings.checkpoint} does not give {what}; set it "
            "to initialise for a fresh start, which then has to be trained"
        )
