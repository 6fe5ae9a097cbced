"""A recipe with stages as a row of recipes without: what each stage is as a run of its own. Pure.

Gradual stages are unfolded here, where the student's shape is known. What stages freeze becomes one
list in `model.freeze`, later entries before earlier ones: what the stages up to this one froze and
freed again, in order, and at the end what the recipe freezes for the whole run.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.config.located import Entry, Node
from limbeck.config.place import remember, remembered
from limbeck.runs import STAGES
from train.recipe import Recipe, Stage, term_names

__all__ = ["StageRun", "carries", "goes_on_from", "stage_runs"]

BLOCKS = ("objective", "data")


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """One stage, or one part of a gradual one, as a run."""

    stage: Stage
    """Of the recipe."""

    index: int
    """Which of `stages` it is, from 0."""

    name: str
    """Its directory's: number, name, and the part of a gradual stage."""

    directory: Path
    """RUN/stages/NAME."""

    recipe: Recipe
    """Without stages."""


def stage_runs(recipe: Recipe, run_dir: str | Path, shape: Any) -> tuple[StageRun, ...]:
    """The runs that a recipe's stages are, in order.

    Args:
      recipe: with stages.
      run_dir: of the whole run.
      shape: the student's `EncoderArchitecture` or `DecoderArchitecture`.
    """
    runs: list[StageRun] = []
    frozen: tuple[str, ...] = ()
    for index, stage in enumerate(recipe.stages):
        parts = _parts(stage, frozen, shape)
        for part, frozen in parts:
            name = f"{len(runs) + 1:02d}-{stage.name}" + (f"-{part}" if part else "")
            runs.append(
                StageRun(
                    stage=stage,
                    index=index,
                    name=name,
                    directory=Path(run_dir) / STAGES / name,
                    recipe=_recipe(recipe, index, frozen, name=name),
                )
            )
    return tuple(runs)


def goes_on_from(runs: Sequence[StageRun], number: int) -> int | None:
    """The last run before `number` that read the same rows: the data goes on where it ended."""
    mine = runs[number].stage.data
    before = [n for n in range(number) if runs[n].stage.data == mine]
    return before[-1] if before else None


def carries(before: Recipe, after: Recipe, name: str) -> bool:
    """Whether a projection means the same map in two stages.

    One that a term names is what it is called; one without a name of its own, which is numbered by
    its term, is the same where the two terms compare the same layers with the same signals.
    """
    number = re.match(r"(\d+)_", name)
    if number is None:
        return True
    at = int(number.group(1))
    if at >= min(len(before.objective), len(after.objective)):
        return False
    names = [term_names(r.objective)[at] for r in (before, after)]
    first, second = before.objective[at], after.objective[at]
    return (
        names[0] == names[1]
        and first.signals == second.signals
        and first.student_layers == second.student_layers
    )


def _parts(stage: Stage, frozen: tuple[str, ...], shape: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The parts of a stage by name, each with all that stages have frozen and freed by then."""
    frozen = (*frozen, *stage.freeze)
    if not stage.is_gradual:
        freed = tuple(f"!{pattern}" for pattern in stage.unfreeze)
        return [("", (*frozen, *freed))]
    groups = stage.groups or _layer_groups(shape)
    frozen = (*frozen, *(pattern for patterns in groups.values() for pattern in patterns))
    parts = []
    for name, patterns in groups.items():
        frozen = (*frozen, *(f"!{pattern}" for pattern in patterns))
        parts.append((name, frozen))
    return parts


def _layer_groups(shape: Any) -> dict[str, tuple[str, ...]]:
    """The layers from the last one down, then the embeddings; a norm after the last goes with it.

    XtremeDistil (Mukherjee and Awadallah 2020, section 3.4) frees a student from the top down.
    """
    stem = "decoder" if isinstance(shape, DecoderArchitecture) else "encoder"
    layers = range(getattr(shape, "num_stored_layers", shape.num_layers) - 1, -1, -1)
    groups: dict[str, tuple[str, ...]] = {f"layer_{i}": (f"{stem}/layer_{i}",) for i in layers}
    if stem == "decoder" or getattr(shape, "norm_position", "post") == "pre":
        top = next(iter(groups))
        groups[top] = (*groups[top], f"{stem}/final_norm")
    return {**groups, "embeddings": (f"{stem}/embeddings",)}


def _recipe(recipe: Recipe, index: int, frozen: tuple[str, ...], *, name: str) -> Recipe:
    """The recipe of a run, which still knows the lines it was written in."""
    own = recipe.of_stage(index)
    model = dataclasses.replace(own.model, freeze=(*frozen, *own.model.freeze))
    own = dataclasses.replace(own, name=f"{recipe.name}: {name}", model=model)
    root = remembered(recipe)
    if root is not None:
        remember(own, _tree(root, index))
    return own


def _tree(root: Node, index: int) -> Node:
    """The tree as it would be if the stage's own settings stood where they replace others."""
    assert isinstance(root.value, dict)
    stages = root.value["stages"].node.value
    assert isinstance(stages, list)
    stage = stages[index].value
    assert isinstance(stage, dict)
    entries = dict(root.value)
    for name in BLOCKS:
        if name in stage:
            entries[name] = stage[name]
    _lay_over(entries, "optimizer", stage["optimizer"].node.value if "optimizer" in stage else {})
    _lay_over(entries, "training", {k: stage[k] for k in ("steps", "patience") if k in stage})
    freezing = [stage[name] for name in ("freeze", "unfreeze", "groups") if name in stage]
    if freezing:
        _lay_over(entries, "model", {"freeze": freezing[0]})
    return Node(entries, root.where)


def _lay_over(entries: dict[str, Entry], block: str, changes: Any) -> None:
    """Replaces entries of a block."""
    if changes and block in entries and isinstance(entries[block].node.value, dict):
        old = entries[block]
        both = {**old.node.value, **changes}  # type: ignore[dict-item]  # a mapping, see above
        entries[block] = Entry(old.where, Node(both, old.node.where))
