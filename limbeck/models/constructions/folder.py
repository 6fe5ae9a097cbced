"""A constructed student as a model folder, without training."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.models.constructions.construction import Construction
from limbeck.models.constructions.model import construct_from_folder, named_arrays
from limbeck.models.constructions.steps import Step
from limbeck.models.constructions.vocabulary import (
    MAP_NAME,
    trimmed_tokenizer,
    vocabulary_map,
)
from limbeck.records.files import atomic_write, fsync_directory, temporary_name
from limbeck.tokens import load_tokenizer
from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf import export_hf

__all__ = ["RECORD_NAME", "make_student_folder"]

RECORD_NAME = "construction.json"
"""What a student folder says of how it was made."""


def make_student_folder(
    teacher: str | os.PathLike[str],
    out: str | os.PathLike[str],
    steps: Sequence[Step],
    *,
    seed: int = 0,
    missing_head: Literal["error", "initialise"] = "error",
) -> Construction:
    """Writes a student made from a teacher's folder.

    Beside what `transformers` loads it holds `construction.json` (the steps, the teacher's
    fingerprint, and where every variable comes from) and, where the vocabulary was trimmed,
    `vocabulary_map.json` and the trimmed tokenizer.

    Args:
      teacher: a model folder with its tokenizer.
      out: folder to make; it must not exist yet. It appears whole or not at all.
      steps: done in order.
      seed: draws what the steps leave to chance.
      missing_head: what to do where the teacher has no masked-LM head.

    Raises:
      UsageError: a folder or a step does not fit.
      LimbeckError: a file is damaged.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out}: is there already; delete it or choose another folder")
    source = tokenizer = load_tokenizer(teacher)
    model, made, _ = construct_from_folder(teacher, steps, seed=seed, missing_head=missing_head)
    if made.kept_ids is not None:
        tokenizer = trimmed_tokenizer(source, made.kept_ids)
    files = {RECORD_NAME: _record(made, steps, teacher=teacher, names=list(named_arrays(model)))}
    if made.kept_ids is not None:
        files[MAP_NAME] = vocabulary_map(
            made.kept_ids, source=source.info(), trimmed=tokenizer.info()
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(temporary_name(out.name))
    try:
        export_hf(model, staging, tokenizer=tokenizer)
        for name, data in files.items():
            atomic_write(staging / name, data)
        fsync_directory(staging)
        os.rename(staging, out)
        fsync_directory(out.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return made


def _record(
    made: Construction,
    steps: Sequence[Step],
    *,
    teacher: str | os.PathLike[str],
    names: list[str],
) -> bytes:
    value = {
        "format": 1,
        "teacher": {"folder": os.fspath(teacher), "fingerprint": fingerprint(teacher)},
        "construct": [{step.name: yaml_file.to_plain(step)[step.name]} for step in steps],
        "lines": list(made.lines),
        "variables": {name: made.origins.get(name, "random") for name in names},
        "frozen": list(made.frozen),
    }
    return (json.dumps(value, indent=2) + "\n").encode()
