"""Run under mpirun by test_step_ranks.py: `python step_checks.py RECIPE ROOT`."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.ranks import World
from limbeck.runs import read_metrics
from train import loop
from train.recipe import Recipe
from train.step import Gradients, TrainStep

VARIANTS = {
    "float32": {},
    "bfloat16": {"precision": "mixed_bfloat16", "wire": "float16"},
    "float16": {"precision": "mixed_float16", "wire": "float16", "micro_batch": 2},
}
BAD_STEPS = (2, 4, 5)  # from 0; one in a row is allowed


def change(recipe: Recipe, **training: object) -> Recipe:
    """The recipe with other settings."""
    return dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **training))


def check(world: World, recipe: Recipe, run_dir: Path) -> list[float]:
    """Trains; returns the losses, after comparing all ranks' weights bit by bit."""
    result = loop.train(recipe, run_dir, world, say=lambda line: None)
    weights = b"".join(v.numpy().tobytes() for v in result.student.variables)
    assert len(set(ranks.gather_bytes(weights))) == 1
    lines = read_metrics(run_dir / "metrics.jsonl")
    return [line["train/loss"] for line in lines if "train/loss" in line]


def poison(rank: int) -> None:
    """Makes rank 1's gradient a NaN at some steps."""
    honest = TrainStep.gradients

    def gradients(self: TrainStep, *arguments: object, step: int, settled: list) -> Gradients:
        found = honest(self, *arguments, step=step, settled=settled)
        if rank == 1 and step in BAD_STEPS:
            found.grads[0] *= np.float32("nan")
        return found

    TrainStep.gradients = gradients


def main() -> None:
    """Every variant, then a run that is stopped for its gradients."""
    world = ranks.init()
    recipe, root = yaml_file.load(sys.argv[1], Recipe), Path(sys.argv[2])
    losses = {
        name: check(world, change(recipe, **training), root / name)
        for name, training in VARIANTS.items()
    }
    if world.is_leader:
        print("CHECK " + json.dumps(losses), flush=True)
    poison(world.rank)
    loop.train(change(recipe, max_skipped_steps=1), root / "poisoned", world)


if __name__ == "__main__":
    main()
