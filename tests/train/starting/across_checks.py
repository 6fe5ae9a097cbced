"""Run under mpirun by test_across.py: `python across_checks.py ROOT`, with ROOT/recipe.yaml.

Each case is a call of `train` on two ranks, of which the second differs in one thing; prints what
each said and its exit code.
"""

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from train import loop
from train.recipe import Recipe
from train.starting import across


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute, for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    yield
    setattr(owner, name, before)


def other(case: str) -> Any:
    """How the second rank differs."""
    version = importlib.metadata.version
    if case == "version":
        changed = lambda name: "1.0" if name == "numpy" else version(name)  # noqa: E731
        return replaced(importlib.metadata, "version", changed)
    if case == "code":
        return replaced(across, "_sources_hash", lambda: "0" * 12)
    if case == "data":
        changed = lambda self: "f" * 64 if Path(self.directory).name == "top" else self.content.id  # noqa: E731
        return replaced(Dataset, "id", property(changed))
    return contextlib.nullcontext()


def ended(world: World, case: str, root: Path) -> dict:
    """How `train` ended on this rank."""
    recipe, run_dir = yaml_file.load(root / "recipe.yaml", Recipe), root / f"run-{case}"
    differs = world.rank == 1
    if differs and case == "recipe":
        recipe = dataclasses.replace(recipe, seed=4)
    if differs and case == "directory":
        run_dir = root / "elsewhere"
    code, text = None, io.StringIO()
    with contextlib.redirect_stderr(text), other(case if differs else ""):
        try:
            loop.train(recipe, run_dir, world, say=lambda line: None)
        except SystemExit as end:
            code = end.code
    return {"code": code, "lines": text.getvalue().splitlines()}


if __name__ == "__main__":
    place, where = ranks.init(), Path(sys.argv[1])
    socket.gethostname = lambda: f"node{place.rank}"
    across.SEEN_WITHIN_S = 0.5
    found = {}
    for name in ("version", "code", "directory", "recipe", "data"):
        mine = ended(place, name, where)
        found[name] = [json.loads(text) for text in ranks.gather_bytes(json.dumps(mine).encode())]
    if place.is_leader:
        print("CHECK " + json.dumps(found), flush=True)
