"""Run under mpirun by test_bad_input.py: `python bad_input_checks.py ROOT`.

ROOT/cases.json holds (name, recipe, run directory). Each case is a call of `train` on all ranks
that must end them together; prints what each rank said and its exit code. Last comes one that ends
the processes.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.ranks import World
from train import loop
from train.recipe import Recipe


def silent(line: str) -> None:
    """Takes lines of progress."""


def ended(world: World, recipe: Recipe, run_dir: Path) -> dict:
    """How `train` ended on this rank."""
    code, text = None, io.StringIO()
    with contextlib.redirect_stderr(text):
        try:
            loop.train(recipe, run_dir, world, say=silent)
        except SystemExit as end:
            code = end.code
    return {"code": code, "lines": text.getvalue().splitlines()}


def prepare(world: World, root: Path) -> None:
    """A finished run; the cases' directories are made of it once it is there."""
    recipe = yaml_file.load(root / "recipe.yaml", Recipe)
    loop.train(recipe, root / "run", world, say=silent)
    if world.is_leader:
        import bad_input_runs

        bad_input_runs.make(root)
    ranks.barrier()


def no_synchronisation(world: World, root: Path) -> None:
    """Trains with a sum over ranks that sums nothing, as Keras 3 with Horovod's optimiser does."""
    ranks.sum_group = lambda tensors, *, name: list(tensors)
    recipe = yaml_file.load(root / "recipe.yaml", Recipe)
    loop.train(recipe, root / "no_synchronisation", world, say=silent)


if __name__ == "__main__":
    place, where = ranks.init(), Path(sys.argv[1])
    prepare(place, where)
    found = {}
    for name, file, directory in json.loads((where / "cases.json").read_text()):
        mine = ended(place, yaml_file.load(where / file, Recipe), where / directory)
        found[name] = [json.loads(text) for text in ranks.gather_bytes(json.dumps(mine).encode())]
    if place.is_leader:
        print("CHECK " + json.dumps(found), flush=True)
    no_synchronisation(place, where)
