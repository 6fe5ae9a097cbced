"""Run under mpirun by test_faults.py: `python faulty.py WHAT STEP RECIPE RUN_DIR`.

Trains; once a run, when STEP updates are done, one rank does WHAT, or the disk does. The time of it
is left in RUN_DIR/../fired-NAME.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.ranks import World
from train import loop
from train.checkpoints import checkpoint
from train.recipe import Recipe
from train.stopping import EXIT_STOPPED

ROOM_BYTES = 16 << 10  # left for lines of metrics; a checkpoint has no place in it


def first_time(run_dir: Path, name: str) -> bool:
    """Whether this has not happened in this run before; from now on it has."""
    fired = run_dir.with_name(f"{run_dir.name}-fired-{name}")
    if fired.exists():
        return False
    fired.write_text(repr(time.time()))
    return True


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def fail() -> None:
    raise KeyError("a bug of ours")


def leave_0() -> None:
    os._exit(0)


def leave_3() -> None:
    sys.exit(3)


def fill_disk(run_dir: Path) -> None:
    """Takes all the room beside the run's directory but a little."""
    space = os.statvfs(run_dir)
    (run_dir.parent / "filler").write_bytes(b"x" * (space.f_bavail * space.f_frsize - ROOM_BYTES))


def damage(run_dir: Path, recipe: Recipe) -> None:
    """Flips a bit in the middle of every shard of the examples; keeps what was there."""
    for path in Path(recipe.data.examples).glob("*.tfrecord"):
        saved = run_dir.parent / "sound" / path.name
        saved.parent.mkdir(exist_ok=True)
        saved.write_bytes(path.read_bytes())
        with path.open("r+b") as file:
            for at in range(40, path.stat().st_size, 60):  # in every record
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 1]))


def at_step(what: str, step: int, world: World, recipe: Recipe, run_dir: Path) -> None:
    """Makes rank 1 do it after so many updates."""
    acts: dict[str, Callable[[], None]] = {
        "killed": die,
        "stopped": stop,
        "raises": fail,
        "leaves_0": leave_0,
        "leaves_3": leave_3,
        "full_disk": lambda: fill_disk(run_dir),
        "damage": lambda: damage(run_dir, recipe),
    }
    honest = loop.advance

    def advance(job: Any, before: Any, *arguments: Any, **options: Any) -> Any:
        if before.step == step and world.rank == 1 and first_time(run_dir, what):
            acts[what]()
        return honest(job, before, *arguments, **options)

    loop.advance = advance


def while_saving(run_dir: Path) -> None:
    """Kills the leader in three saves: before a write, before its fsync, before its rename."""
    honest = checkpoint.save

    def save(directory: Path, state: Any, **options: Any) -> Path:
        moment = {4: "open", 8: "fsync", 12: "replace"}.get(state.progressed.step)
        if moment and first_time(run_dir, moment):
            call, ours = getattr(os, moment), f"step-{state.progressed.step:08d}"

            def kill(*arguments: Any, **more: Any) -> Any:
                if moment == "fsync" or ours in str(arguments[0]):
                    die()
                return call(*arguments, **more)

            setattr(os, moment, kill)
        return honest(directory, state, **options)

    checkpoint.save = save


def main() -> None:
    what, step, recipe_file, directory = sys.argv[1:]
    world, run_dir = ranks.init(), Path(directory)
    recipe = yaml_file.load(recipe_file, Recipe)
    if what == "killed_while_saving":
        while_saving(run_dir)
    elif what != "whole":
        at_step(what, int(step), world, recipe, run_dir)
    result = loop.train(recipe, run_dir, world, say=lambda line: print(line, flush=True))
    sys.exit(0 if result.finished else EXIT_STOPPED)


if __name__ == "__main__":
    main()
