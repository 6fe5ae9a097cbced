"""Run under mpirun by test_ranks.py: `python rank_checks.py WHAT RECIPE RUN_DIR`."""

import json
import sys
from typing import Any

import numpy as np

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.ranks import World
from train import loop, stream
from train.job import Job, build_job
from train.recipe import Recipe


def largest_difference(variables) -> float:
    """Largest difference of any weight between any rank and rank 0."""
    flat = np.concatenate([v.value.numpy().ravel() for v in variables])
    gathered = [np.frombuffer(b, np.float32) for b in ranks.gather_bytes(flat.tobytes())]
    return max(float(np.abs(other - gathered[0]).max()) for other in gathered)


def whole_run(world: World, recipe: Recipe, run_dir: str) -> None:
    """Trains from weights that differ between ranks at first, then compares all ranks' weights."""
    differences = {}

    def uneven_job(*arguments: Any) -> Job:
        job = build_job(*arguments)
        for variable in job.step.student.variables:
            variable.value.assign_add(np.full(variable.shape, float(world.rank), np.float32))
        differences["before"] = largest_difference(job.step.student.variables)
        return job

    loop.build_job = uneven_job
    result = loop.train(recipe, run_dir, world)
    differences["after"] = largest_difference(result.student.variables)
    if world.is_leader:
        print("CHECK " + json.dumps({**differences, "step": result.step}), flush=True)


def no_synchronisation(world: World, recipe: Recipe, run_dir: str) -> None:
    """Trains with a sum over ranks that sums nothing, as Keras 3 with Horovod's optimiser does."""
    ranks.sum_group = lambda tensors, *, name: list(tensors)
    loop.train(recipe, run_dir, world)


def other_order(world: World, recipe: Recipe, run_dir: str) -> None:
    """One rank feeds other rows than the order says."""
    if world.rank == 1:
        honest = stream.rank_slice
        stream.rank_slice = lambda num_rows, rank, size: honest(num_rows, 0, size)
    loop.train(recipe, run_dir, world)


if __name__ == "__main__":
    what, recipe_file, directory = sys.argv[1:]
    globals()[what](ranks.init(), yaml_file.load(recipe_file, Recipe), directory)
