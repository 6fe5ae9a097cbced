"""A run in stages: a chain of ordinary runs, each starting from the weights of the one before.

`RUN/stages/01-NAME/` has checkpoints, metrics and ledger of its own, so a stage is resumed as any
run is. The student of a stage that has ended is the next one's start; the optimiser is new. Rows go
on where the last stage with the same data ended, so none comes again before its turn.
`RUN/lineage.json` says which checkpoint each stage started from and what it made.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.command import before_work
from limbeck.config.errors import LimbeckError
from limbeck.config.place import placed
from limbeck.ranks import World
from limbeck.records.files import atomic_write
from limbeck.runs import RunDirectory
from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Checkpoint
from train.checkpoints.warm import WarmStart
from train.inputs import Inputs, open_inputs, student_architecture
from train.recipe import Recipe
from train.starting.across import prepare_alike
from train.starting.preflight import is_complete, newest_step
from train.starting.stages import StageRun, carries, goes_on_from, stage_runs
from train.students.trained import student_shapes

__all__ = ["Prepared", "opened_by", "prepare", "stages_complete", "train_stages"]

PROG = "train run"
Prepared = tuple[tuple[StageRun, Inputs], ...]
"""The stages with what each reads."""


def prepare(recipe: Recipe, run_dir: str | Path, world: World) -> Prepared:
    """Opens what all stages read, before the first begins; then the leader makes the directories.

    Raises:
      UsageError: the first thing wrong; a directory that is another run's before anything else.
    """
    run = RunDirectory(run_dir)
    config = yaml_file.to_plain(recipe)
    with placed(recipe), before_work():
        if run.config_file.exists():
            run.take(config)
        stages = stage_runs(recipe, run_dir, student_architecture(recipe.model))
    ready = []
    for stage in stages:
        with placed(stage.recipe), before_work():
            ready.append((stage, open_inputs(stage.recipe)))
    with before_work():
        if world.is_leader:
            run.take(config)
            for stage in stages:
                RunDirectory(stage.directory).take(yaml_file.to_plain(stage.recipe))
    return tuple(ready)


def opened_by(prepared: Prepared) -> list[Inputs]:
    """What the stages read."""
    return [inputs for _, inputs in prepared]


def stages_complete(stages: Sequence[StageRun]) -> bool:
    """Whether every stage has ended."""
    return all(is_complete(stage.recipe, stage.directory) for stage in stages)


def train_stages(
    recipe: Recipe,
    run_dir: str | Path,
    world: World | None = None,
    *,
    prepared: Prepared | None = None,
    say: Callable[[str], None] = print,
) -> Any:
    """Makes the stages that are left, one after the other; as `train.loop.train`.

    Returns:
      The `Result` of the run: steps of all stages together, the student of the last one.
    """
    from train.loop import Result, train  # which calls this function

    place = world or World()
    run = RunDirectory(run_dir)
    ready = prepared or prepare_alike(
        place,
        recipe,
        run_dir,
        lambda: prepare(recipe, run_dir, place),
        opened=opened_by,
        prog=PROG,
    )
    stages = [stage for stage, _ in ready]
    done, result = 0, None
    with contextlib.ExitStack() as stack:
        ranks.agree(place, lambda: _lock(run, place, stack), prog=PROG)
        ranks.agree(place, lambda: _check_maps(ready), prog=PROG)
        for number, (stage, inputs) in enumerate(ready):
            warm = _warm_start(place, stages, number)
            if place.is_leader:
                say(_heading(stages, number, warm))
            result = train(
                stage.recipe,
                stage.directory,
                place,
                inputs=inputs,
                say=say,
                warm=warm,
            )
            done += result.step
            if not result.finished:
                break
            ranks.agree(place, lambda: _record(run, place, stages), prog=PROG)
    assert isinstance(result, Result)  # a recipe with stages has at least one
    return dataclasses.replace(result, run_dir=run.path, step=done)


def _check_maps(prepared: Prepared) -> None:
    """Refuses maps of later stages that cannot be, before the first one trains."""
    for stage, inputs in prepared:
        with placed(stage.recipe):
            student_shapes(inputs)


def _lock(run: RunDirectory, world: World, stack: contextlib.ExitStack) -> None:
    if world.is_leader:
        stack.enter_context(run.lock())


def _warm_start(world: World, stages: Sequence[StageRun], number: int) -> WarmStart | None:
    """What a stage starts from, equal on all ranks; the leader reads it. A collective."""
    if number == 0:
        return None
    before = stages[number - 1]
    loaded: Checkpoint | None = ranks.agree(
        world, lambda: _result(before) if world.is_leader else None, prog=PROG
    )
    text = b""
    if loaded is not None:
        position = _position(stages, number)
        text = json.dumps([_entry(before, loaded), position]).encode()
    origin, position = json.loads(ranks.broadcast_bytes(text))
    recipe = stages[number].recipe
    return WarmStart(
        origin=origin,
        position=position,
        tensors={} if loaded is None else loaded.tensors,
        carries=lambda name: carries(before.recipe, recipe, name),
    )


def _result(stage: StageRun) -> Checkpoint:
    """What a stage that has ended has made."""
    directory = RunDirectory(stage.directory).checkpoints
    loaded = checkpoint.load_result(directory, best=stage.recipe.training.result_is_best)
    if loaded is None:
        raise LimbeckError(f"{directory}: no checkpoint, although the stage has ended")
    return loaded


def _position(stages: Sequence[StageRun], number: int) -> int:
    """Where the rows go on."""
    source = goes_on_from(stages, number)
    if source is None:
        return 0
    newest = checkpoint.load_newest(RunDirectory(stages[source].directory).checkpoints)
    return 0 if newest is None else newest.progressed.stream.position


def _entry(stage: StageRun, loaded: Checkpoint) -> dict[str, Any]:
    return {"stage": stage.name, "step": loaded.progressed.step, "sha256": loaded.sha256}


def _heading(stages: Sequence[StageRun], number: int, warm: WarmStart | None) -> str:
    stage = stages[number]
    text = f"stage     {number + 1} of {len(stages)}, {stage.name}"
    if warm is None:
        return text
    return f"{text}: weights of {warm.text}, rows from position {warm.position}"


def _record(run: RunDirectory, world: World, stages: Sequence[StageRun]) -> None:
    """Writes `lineage.json` of the stages that have ended, on the leader."""
    if not world.is_leader:
        return
    lines = []
    for stage in stages:
        if not is_complete(stage.recipe, stage.directory):
            break
        loaded = _result(stage)
        lines.append(
            {
                **_entry(stage, loaded),
                "steps_made": newest_step(RunDirectory(stage.directory)),
                "position": loaded.progressed.stream.position,
                "from": loaded.progressed.origin,
            }
        )
    text = json.dumps({"stages": lines}, indent=2) + "\n"
    path = run.path / "lineage.json"
    if not path.exists() or path.read_bytes() != text.encode():
        atomic_write(path, text.encode())
