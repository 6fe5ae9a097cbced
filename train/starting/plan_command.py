"""`python -m train plan`: what a recipe will do, in numbers, without TensorFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from limbeck.config import yaml_file
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError
from limbeck.config.place import placed
from train.evaluation.given import check_output
from train.inputs import open_inputs, student_architecture
from train.json_file import write_json
from train.recipe import Recipe
from train.starting.planned import planned
from train.starting.stages import stage_runs

__all__ = ["PlanOptions", "plan", "plan_of"]


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of `plan`."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.yaml")]
    """Recipe, a YAML file."""

    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A setting of the recipe replaced, such as training.steps=100; may be repeated."""

    ranks: int = 1
    """Processes over which every batch is cut."""

    json: str | None = None
    """File that the numbers are written to as JSON."""


def plan(argv: Sequence[str]) -> None:
    """Says what a recipe will read, compute and exchange; opens its data and trains nothing."""
    options = parse(PlanOptions, argv, prog="python -m train plan", description=plan.__doc__ or "")
    if options.ranks < 1:
        raise UsageError(f"--ranks is {options.ranks}; it must be at least 1")
    with before_work():
        check_output(options.json, option="--json")
        recipe = yaml_file.load(options.recipe, Recipe, overrides=options.set)
        found = plan_of(recipe, num_ranks=options.ranks)
    if options.json is not None:
        write_json(options.json, found)
    for stage in found["stages"]:
        print("\n".join(_lines(stage, found["ranks"])))


def plan_of(recipe: Recipe, *, num_ranks: int) -> dict[str, Any]:
    """The numbers of every stage, or of the one stage that a run in one piece is.

    Raises:
      UsageError: what `train run` would refuse before it starts.
    """
    parts = {"": recipe}
    if recipe.stages:
        with placed(recipe), before_work():
            runs = stage_runs(recipe, "", student_architecture(recipe.model))
        parts = {run.name: run.recipe for run in runs}
    stages = []
    for name, part in parts.items():
        with placed(part), before_work():
            numbers = planned(open_inputs(part), num_ranks=num_ranks)
        stages.append({"name": name, **numbers, "settings": _settings(part)})
    return {"recipe": recipe.name, "ranks": num_ranks, "stages": stages}


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What decides how long a row takes, for comparison with a run that was measured."""
    return {
        "model": yaml_file.to_plain(recipe.model),
        "objective": yaml_file.to_plain(recipe.objective),
        "precision": recipe.training.precision,
    }


def _lines(stage: Mapping[str, Any], ranks: int) -> list[str]:
    """One stage, for people."""
    heading = [f"stage     {stage['name']}"] if stage["name"] else []
    epochs = ", ".join(
        f"{times:.2f} epochs" + (f" of {name}" if name else "")
        for name, times in stage["epochs"].items()
    )
    read = stage["read_bytes_per_step"]
    parts = ", ".join(f"{name} {number / 1e6:.3f}" for name, number in read.items())
    slots = ranks * stage["micro_batches"] * stage["rows_per_micro"]
    live = "; the live teacher's are not counted" if stage["live_teacher"] else ""
    return [
        *heading,
        f"student   {stage['parameters']:,} parameters, {stage['trained_parameters']:,} trained in "
        f"{stage['trained_variables']} variables",
        f"gradients {stage['gradient_bytes'] / 1e6:,.1f} MB a step and rank, as {stage['wire']}",
        f"batch     {stage['global_batch']:,} rows = {ranks} rank(s) x {stage['micro_batches']} "
        f"micro-batch(es) x {stage['rows_per_micro']} rows"
        + (
            f", {slots - stage['global_batch']} of them padding"
            if slots > stage["global_batch"]
            else ""
        ),
        f"steps     {stage['steps']:,} = {stage['rows']:,} rows = {epochs} = "
        f"{stage['tokens']:,.0f} tokens",
        f"store     {stage['store_bytes'] / 1e9:,.3f} GB; a step reads "
        f"{sum(read.values()) / 1e6:.3f} MB ({parts})",
        f"compute   {stage['training_flops'] / 1e12:,.3f} TFLOP a step, rows padded to "
        f"{stage['padded_length']:.0f} tokens{live}",
    ]
