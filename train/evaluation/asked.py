"""What `python -m train evaluate` is asked for, from its options. No TensorFlow."""

import os
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from limbeck.config.errors import UsageError

__all__ = ["UNIGRAM", "Asked", "EvaluateOptions", "asked_of"]

UNIGRAM = "unigram"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    model: Annotated[str, tyro.conf.Positional]
    """A model folder, a run's directory, or the word `unigram`."""

    examples: str | None = None
    """Examples to evaluate on; of a run, its own held-out ones with their labels when left out."""

    labels: str | None = None
    """A sparse or final family of these examples: adds KL(teacher || model)."""

    hidden: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """LAYER=DIR: a layer of the model and a hidden family to hold it against; may be repeated."""

    best: bool = False
    """Of a run, the checkpoint of its best evaluation instead of the newest."""

    fit: str | None = None
    """Training examples that `unigram` counts."""

    json: str | None = None
    """File that the scores are written to as JSON as well."""

    batch_rows: int = 32
    """Rows computed at once."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to evaluate, on what."""

    model: str
    """A model folder, a run's directory, or `unigram`."""

    examples: str | None
    """Examples; None for a run's own."""

    families: dict[str, str] = field(default_factory=dict)
    """Name -> directory of their label families."""

    layers: dict[str, int] = field(default_factory=dict)
    """Name of a hidden family -> the model's layer; the other family is for the KL."""

    best: bool
    """Which checkpoint of a run."""

    fit: str | None
    """What `unigram` counts."""

    batch_rows: int
    """Rows computed at once."""


def asked_of(options: EvaluateOptions) -> Asked:
    """Reads the options.

    Raises:
      UsageError: options that do not go together, or say nothing.
    """
    if (options.model == UNIGRAM) != (options.fit is not None):
        raise UsageError("--fit and the model `unigram` go together")
    if options.batch_rows < 1:
        raise UsageError(f"--batch-rows is {options.batch_rows}; it must be at least 1")
    if options.fit is not None and (options.hidden or options.best):
        raise UsageError("a unigram has neither layers nor checkpoints; leave --hidden, --best out")
    if options.examples is None and (options.labels or options.hidden or options.fit):
        raise UsageError("--labels, --hidden and --fit need --examples")
    families = {} if options.labels is None else {"labels": options.labels}
    layers = {}
    for text in options.hidden:
        number, equals, directory = text.partition("=")
        if not (equals and directory and number.isascii() and number.isdigit()):
            raise UsageError(f"--hidden {text}: expected LAYER=DIR, such as 3=labels/hidden")
        name = _free(os.path.basename(os.path.normpath(directory)), families)
        families[name], layers[name] = directory, int(number)
    return Asked(
        model=options.model,
        examples=options.examples,
        families=families,
        layers=layers,
        best=options.best,
        fit=options.fit,
        batch_rows=options.batch_rows,
    )


def _free(name: str, taken: dict[str, str]) -> str:
    """The name, or the first free one that begins with it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
