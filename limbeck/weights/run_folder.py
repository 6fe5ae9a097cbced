"""The student in the newest checkpoint of a run (`train run`)."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import Architecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.runs import student_run
from limbeck.weights.checkpoint import Checkpoint, Found, Other
from limbeck.weights.safetensors_file import read_tensors

__all__ = ["HEADS", "checkpoint_digest", "holds_run", "run_checkpoint"]

_STEP = re.compile(r"step-\d{8}\.safetensors")
_MODEL = "model/"
HEADS = {
    "masked_lm": "masked_lm",
    "causal_lm": "causal_lm",
    "pretraining": "pretraining",
    "classification": "classifier",
    "tagging": "token_classifier",
    "span": "question_answering",
    "next_sentence": "next_sentence",
    "none": "encoder",
}
"""Head in a recipe -> in `limbeck.models.build`."""


def holds_run(path: str | os.PathLike[str]) -> bool:
    """Whether a directory is a run's."""
    return (Path(path) / "checkpoints").is_dir()


def run_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads the student of a run's newest checkpoint; its optimiser is listed as unused.

    Raises:
      UsageError: no checkpoint yet.
      LimbeckError: the file is damaged: its SHA-256 is checked.
    """
    directory = student_run(path) / "checkpoints"
    files = sorted(file for file in directory.iterdir() if _STEP.fullmatch(file.name))
    if not files:
        raise UsageError(f"{path}: no checkpoint yet; let the run reach its first one")
    tensors = read_tensors(files[-1])
    architecture, head = _student(files[-1], tensors)
    found = {
        name.removeprefix(_MODEL): Found(name, values)
        for name, values in tensors.items()
        if name.startswith(_MODEL)
    }
    others = {
        name: Other(name, values, _why(name))
        for name, values in tensors.items()
        if not name.startswith(_MODEL)
    }
    return Checkpoint(
        where=str(files[-1]),
        kind="run",
        architecture=architecture,
        head=head,
        found=found,
        others=others,
        expected=lambda variable: f"{_MODEL}{variable}",
    )


def checkpoint_digest(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over a header without its hash, and names, dtypes, shapes and bytes of tensors."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        line = json.dumps([name, tensor.dtype.str, list(tensor.shape)])
        digest.update(f"\n{line}\n".encode())
        # No copy; and while bytes are hashed, other threads run.
        digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _student(path: Path, tensors: Mapping[str, np.ndarray]) -> tuple[Architecture, str]:
    """The student's shape, and its head by the names of `limbeck.models.build`."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header: Any = json.loads((file.metadata() or {})["limbeck"])
        claimed = header.pop("sha256")
        fields = dict(header["progressed"]["architecture"])
        head = fields.pop("head", "masked_lm")
        for name in ("heads", "beside_language"):
            fields.pop(name, None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LimbeckError(f"{path}: not a run's checkpoint: {error!r}") from error
    if checkpoint_digest(header, tensors) != claimed:
        raise LimbeckError(f"{path}: damaged: its SHA-256 is not the one in its header")
    if head not in HEADS:
        raise UsageError(
            f"{path}: a student with several heads; export the one that is meant (python -m train "
            "export --head NAME) and take that folder"
        )
    try:
        shape = DecoderArchitecture if head == "causal_lm" else EncoderArchitecture
        return shape(**fields), HEADS[head]
    except (TypeError, ValueError) as error:
        raise LimbeckError(f"{path}: architecture: {error}") from error


def _why(name: str) -> str:
    return "the optimiser's" if name.startswith("optimizer/") else "for training only"
