"""Runs in stages: RUN/stages/01-NAME, 02-NAME, ... are runs of their own, in this order."""

import os
import re
from pathlib import Path

__all__ = ["STAGES", "stage_runs_of", "student_run"]

STAGES = "stages"
STAGE = re.compile(r"\d{2,}-.+")


def stage_runs_of(path: str | os.PathLike[str]) -> list[Path]:
    """Directories of a run's stages that have begun, in order; empty for a run in one piece."""
    directory = Path(path) / STAGES
    if not directory.is_dir():
        return []
    found = [entry for entry in directory.iterdir() if STAGE.fullmatch(entry.name)]
    begun = [entry for entry in found if any((entry / "checkpoints").glob("step-*.safetensors"))]
    return sorted(begun, key=lambda entry: int(entry.name.partition("-")[0]))


def student_run(path: str | os.PathLike[str]) -> Path:
    """The run that holds the student: the last stage that has begun, or the directory itself."""
    stages = stage_runs_of(path)
    return stages[-1] if stages else Path(path)
