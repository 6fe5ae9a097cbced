"""`python -m train check`: a recipe by itself, before the data and models it names are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from limbeck.config import yaml_file
from limbeck.config.command import parse
from train.recipe import Recipe

__all__ = ["CheckOptions", "check"]


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of `check`."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.yaml")]
    """Recipe, a YAML file."""

    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A setting of the recipe replaced, such as training.steps=100; may be repeated."""


def check(argv: Sequence[str]) -> None:
    """Reads a recipe as `run` does, and opens nothing that it names.

    It finds what is wrong whatever the data are: unknown settings, wrong types, and settings
    that contradict each other. `plan` opens the data too.
    """
    options = parse(
        CheckOptions, argv, prog="python -m train check", description=check.__doc__ or ""
    )
    recipe = yaml_file.load(options.recipe, Recipe, overrides=options.set)
    steps = f"{recipe.num_steps:,} steps"
    if recipe.stages:  # into how many parts a gradual one unfolds depends on the student's layers
        more = " or more" if any(stage.is_gradual for stage in recipe.stages) else ""
        steps += f"{more}, {len(recipe.stages)} stages"
    print(f"{options.recipe}: sound by itself: {steps}")
