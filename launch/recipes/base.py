"""What recipes share: the demonstration's documents, examples and teacher, made when missing."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
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
from launch.steps import Steps
from limbeck.config.errors import LimbeckError

__all__ = ["base_paths", "make_base", "missing_base"]

FEW = 0.3  # of the pages: about 3,000 rows, and a student of minutes reads 2,560

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
        name
        for name in ORDER
        if name in wanted
        and not (name in WHOLE and all((Path(paths[name]) / part).exists() for part in WHOLE[name]))
    )


def make_base(names: Collection[str], demo_directory: Path, steps: Steps) -> None:
    """Makes what is missing.

    Raises:
      LimbeckError: a command failed, or data cannot be fetched.
    """
    demo = Demo(scale=SHORT, out=demo_directory)
    # The same seed: what the demo holds out is held out here too.
    few = Demo(scale=dataclasses.replace(SHORT, heldout_fraction=1 - FEW), out=demo_directory)
    makers: Mapping[str, Callable[[], None]] = {
        "encoder": lambda: _fetch("demo"),
        "newsgroups": lambda: _fetch("newsgroups"),
        "documents": lambda: prepare_documents(demo, steps),
        "examples": lambda: prepare_examples(demo, steps),
        "few": lambda: prepare_examples(few, steps, name="few"),
        "teacher": lambda: tune_teacher(demo, steps),
        "heldout_labels": lambda: extract_labels(demo, steps, splits=("heldout",)),
    }
    for name in names:
        makers[name]()


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
