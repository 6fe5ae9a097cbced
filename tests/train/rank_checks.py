"""Run under mpirun by test_ranks.py: `python rank_checks.py WHAT RECIPE RUN_DIR`."""

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.ranks import World
from train import loop, stream
from train.job import Job, build_job
from train.recipe import Recipe
from train.step import TrainStep
from train.stopping import EXIT_STOPPED


def largest_difference(variables) -> float:
    """Largest difference of any weight between any rank and rank 0."""
    flat = np.concatenate([v.value.numpy().ravel() for v in variables])
    gathered = [np.frombuffer(b, np.float32) for b in ranks.gather_bytes(flat.tobytes())]
    return max(float(np.abs(other - gathered[0]).max()) for other in gathered)


def whole_run(world: World, recipe: Recipe, run_dir: str) -> None:
    """Trains from weights that differ between ranks at first, then compares all ranks' weights."""
    differences = {}

    def uneven_job(*arguments: Any, **options: Any) -> Job:
        job = build_job(*arguments, **options)
        for variable in job.step.student.variables:
            variable.value.assign_add(np.full(variable.shape, float(world.rank), np.float32))
        differences["before"] = largest_difference(job.step.student.variables)
        return job

    loop.build_job = uneven_job
    result = loop.train(recipe, run_dir, world)
    differences["after"] = largest_difference(result.student.variables)
    if world.is_leader:
        print("CHECK " + json.dumps({**differences, "step": result.step}), flush=True)


def delayed(world: World, recipe: Recipe, run_dir: str) -> None:
    """Trains with every rank late by chance, by up to 20 ms, before each step and each sum."""
    chance = random.Random()  # of the system's entropy: another one in each process

    def late(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            time.sleep(chance.random() * 0.02)
            return function(*arguments, **options)

        return wrapped

    loop.advance = late(loop.advance)
    TrainStep.reduce = late(TrainStep.reduce)
    result = loop.train(recipe, run_dir, world, say=lambda line: print(line, flush=True))
    sys.exit(0 if result.finished else EXIT_STOPPED)


def other_order(world: World, recipe: Recipe, run_dir: str) -> None:
    """One rank feeds other rows than the order says."""
    if world.rank == 1:
        honest = stream.rank_slice
        stream.rank_slice = lambda num_rows, rank, size: honest(num_rows, 0, size)
    loop.train(recipe, run_dir, world)


if __name__ == "__main__":
    what, recipe_file, directory = sys.argv[1:]
    globals()[what](ranks.init(), yaml_file.load(recipe_file, Recipe), directory)
