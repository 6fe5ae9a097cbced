"""What an output is: an id that changes with its content, whatever kind of output it is."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from launch.files import sha256_of
from limbeck.config.errors import LimbeckError
from limbeck.records.files import is_temporary

__all__ = ["describe_student", "identify"]

MANIFEST = "manifest.json"
MODEL_FILES = ("config.json", "model.safetensors")
# What a run writes beside its checkpoints, and a prepared directory beside its datasets: logs and
# times, which differ from one making to the next.
PASSING = {
    "metrics",
    "logs",
    "heartbeat",
    "tensorboard",
    "lock",
    "provenance.json",
    "supervise.jsonl",
    "supervise.log",
}


def identify(path: Path) -> str | None:
    """The id of an output, None where there is nothing.

    A dataset's is that of its manifest, a run's the SHA-256 of its newest checkpoint, a model
    folder's that of its weights and shape; a directory of several outputs has one of theirs.

    Raises:
      LimbeckError: a manifest that cannot be read.
    """
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        return None
    if (path / MANIFEST).is_file():
        return _dataset_id(path / MANIFEST)
    if (path / "stages").is_dir():  # a run of several stages
        return identify(path / "stages")
    if (path / "checkpoints").is_dir():
        files = sorted((path / "checkpoints").glob("step-*.safetensors"))
        return sha256_of(files[-1]) if files else None
    if (path / MODEL_FILES[-1]).is_file():
        return _joined({name: identify(path / name) for name in MODEL_FILES})
    parts = sorted(part for part in path.iterdir() if not _is_passing(part))
    return _joined({part.name: identify(part) for part in parts})


def describe_student(run: Path) -> str:
    """Layers x width of a run's student, as its newest checkpoint has it; empty if it has none."""
    files = sorted(run.rglob("checkpoints/step-*.safetensors"))
    if not files:
        return ""
    shapes = list(_mappings_with(_header(files[-1]), "num_layers"))
    return f"{shapes[0]['num_layers']} x {shapes[0]['hidden_dim']}" if shapes else ""


def _dataset_id(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text())["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise LimbeckError(f"{manifest}: is no manifest: {error}; make its dataset anew") from error


def _joined(parts: dict[str, str | None]) -> str | None:
    if not any(parts.values()):
        return None
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_passing(path: Path) -> bool:
    return path.name in PASSING or path.name.startswith(".") or is_temporary(path.name)


def _header(file: Path) -> Any:
    """The run's part of a safetensors header: 8 bytes of length, then JSON."""
    with file.open("rb") as source:
        (length,) = struct.unpack("<Q", source.read(8))
        metadata = json.loads(source.read(length)).get("__metadata__", {})
    return json.loads(metadata.get("limbeck", "{}"))


def _mappings_with(tree: Any, name: str) -> Any:
    if isinstance(tree, dict):
        if name in tree:
            yield tree
        for part in tree.values():
            yield from _mappings_with(part, name)
