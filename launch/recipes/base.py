"""What recipes share: the demonstration's documents, examples and teacher, made when missing.

`python -m launch.recipes.base teacher few` makes these two and what they need.
"""

import argparse
import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from launch.data import DataError, data_dir, fetch_missing
from launch.demo.pipeline import (
    Demo,
    encoder,
    extract_labels,
    prepare_documents,
    prepare_examples,
    tune_teacher,
)
from launch.demo.scale import SHORT
from launch.holding import BASE_LOCK, holding
from launch.recipes.names import BASE, FEW
from launch.steps import Steps
from limbeck.config.command import run_command
from limbeck.config.errors import LimbeckError

__all__ = ["DEMO", "base_paths", "make_base", "missing_base", "provide_base"]

DEMO = Path("runs/demo")
"""Where the base lies unless another place is given."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "documents": (),
    "examples": ("documents", "encoder"),
    "few": ("documents", "encoder"),
    "teacher": ("examples",),
    "heldout_labels": ("teacher",),
    "encoder": (),
    "newsgroups": (),
}
ORDER = ("encoder", "newsgroups", "documents", "examples", "few", "teacher", "heldout_labels")
NUM_COMMANDS = {"documents": 1, "examples": 1, "few": 1, "teacher": 2, "heldout_labels": 1}
# What an output has when it is whole.
WHOLE = {
    "documents": ("manifest.json",),
    "examples": ("train/manifest.json", "heldout/manifest.json", "tokenizer"),
    "few": ("train/manifest.json", "tokenizer"),
    "teacher": ("model.safetensors", "config.json"),
    "heldout_labels": ("sparse/manifest.json", "hidden/manifest.json"),
}


def base_paths(demo: Path) -> dict[str, str]:
    """Name -> path, for recipes; `demo` is the demonstration's directory."""
    return {
        "documents": str(demo / "documents"),
        "examples": str(demo / "examples"),
        "few": str(demo / "few"),
        "teacher": str(demo / "teacher"),
        "heldout_labels": str(demo / "labels" / "heldout"),
        "encoder": str(encoder()),
        "newsgroups": str(data_dir() / "20newsgroups"),
    }


def missing_base(names: Collection[str], demo: Path) -> tuple[str, ...]:
    """Which parts have to be made for these names, in order."""
    paths = base_paths(demo)
    wanted = _with_needs(names)
    return tuple(
        name for name in ORDER if name in wanted and not _is_whole(name, Path(paths[name]))
    )


def _is_whole(name: str, path: Path) -> bool:
    if name not in WHOLE or not all((path / part).exists() for part in WHOLE[name]):
        return False
    return name != "few" or _share_of(path) == FEW


def _share_of(few: Path) -> float | None:
    """The share of the pages that it was made of; None where that cannot be read."""
    try:
        manifest = json.loads((few / "train" / "manifest.json").read_text())
        return round(1 - manifest["content"]["settings"]["heldout_fraction"], 9)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def provide_base(
    names: Collection[str],
    demo: Path,
    *,
    log_directory: Path,
    num_later: int = 0,
    keep_open: tuple[int, ...] = (),
) -> Steps:
    """Makes what is missing, while nobody else makes anything of it.

    Args:
      names: of the base.
      demo: directory of the base.
      log_directory: where the output of commands goes.
      num_later: how many commands the caller will run with what is returned.
      keep_open: descriptors that every command inherits.

    Returns:
      The commands so far.

    Raises:
      LimbeckError: a command failed, or data cannot be fetched.
    """
    with contextlib.ExitStack() as stack:
        locks: tuple[int, ...] = ()
        if any(name in WHOLE for name in missing_base(names, demo)):
            locks = (stack.enter_context(holding(demo, file=BASE_LOCK)),)
        missing = missing_base(names, demo)  # after the lock: somebody may have made it
        steps = Steps(
            log_directory=log_directory,
            total=num_later + sum(NUM_COMMANDS.get(name, 0) for name in missing),
            keep_open=(*keep_open, *locks),
        )
        make_base(missing, demo, steps)
    steps.keep_open = keep_open
    return steps


def make_base(names: Collection[str], demo_directory: Path, steps: Steps) -> None:
    """Makes what is missing.

    Raises:
      LimbeckError: a command failed, or data cannot be fetched.
    """
    demo = Demo(scale=SHORT, out=demo_directory)
    makers: Mapping[str, Callable[[], None]] = {
        "encoder": lambda: _fetch("demo"),
        "newsgroups": lambda: _fetch("newsgroups"),
        "documents": lambda: prepare_documents(demo, steps),
        "examples": lambda: prepare_examples(demo, steps),
        "few": lambda: _prepare_few(demo_directory, steps),
        "teacher": lambda: tune_teacher(demo, steps),
        "heldout_labels": lambda: extract_labels(demo, steps, splits=("heldout",)),
    }
    for name in names:
        makers[name]()


def _prepare_few(demo_directory: Path, steps: Steps) -> None:
    """Some of the pages, by the same seed: what the demo holds out is held out here too."""
    few = demo_directory / "few"
    if few.exists():
        print(f"    {few}: it is not whole, or of another share of the pages; making it anew")
        shutil.rmtree(few)
    scale = dataclasses.replace(SHORT, heldout_fraction=1 - FEW)
    prepare_examples(Demo(scale=scale, out=demo_directory), steps, name="few")


def _fetch(group: str) -> None:
    try:
        fetch_missing(data_dir(), group="newsgroups" if group == "newsgroups" else "demo")
    except DataError as error:
        raise LimbeckError(str(error)) from error


def _with_needs(names: Collection[str]) -> set[str]:
    found = set(names)
    for name in names:
        found |= _with_needs(NEEDS[name])
    return found


def main(argv: Sequence[str]) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.recipes.base", description="Makes what recipes share."
    )
    parser.add_argument(
        "names", nargs="+", choices=list(BASE), metavar="NAME", help=", ".join(BASE)
    )
    parser.add_argument("--demo", type=Path, default=DEMO, help="its directory")
    options = parser.parse_args(argv)
    provide_base(set(options.names), options.demo, log_directory=options.demo / "logs")
    for name in options.names:
        print(f"{name}: {base_paths(options.demo)[name]}")
    return 0


if __name__ == "__main__":
    run_command("launch.recipes.base", main)
