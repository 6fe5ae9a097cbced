"""Checkpoints: everything a run needs to go on, in one safetensors file.

`checkpoints/step-00001200.safetensors` holds every variable of the student, of its projections and
of the optimiser by name, and in its header one JSON text: the step, the stream's state, counters,
the settings' hash, the best evaluation so far, the surroundings it was made in, and a SHA-256 over
all of that and every tensor. The file gets its name only when it is whole on disk; what fails its
hash is not used.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors import SafetensorError

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order import StreamState
from limbeck.records.files import final_name, remove_leftovers
from limbeck.weights.run_folder import checkpoint_digest
from limbeck.weights.safetensors_file import write_tensors
from train.checkpoints.best import Best

__all__ = [
    "Checkpoint",
    "Progressed",
    "clean",
    "file_name",
    "list_checkpoints",
    "load",
    "load_best",
    "load_newest",
    "load_result",
    "peek",
    "progressed_from_bytes",
    "progressed_to_bytes",
    "save",
]

NAME = re.compile(r"step-(\d{8})\.safetensors")
METADATA_KEY = "limbeck"  # one key: safetensors writes several in random order
# 1 had the optimiser of Keras and no best evaluation; 2 neither `stale` nor `origin`.
FORMAT, READ = 3, (2, 3)


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """Where a run stands, apart from its tensors."""

    step: int
    """Updates done."""

    stream: StreamState
    """The next batch."""

    rows: int
    """Rows fed so far."""

    tokens: int
    """Real tokens fed so far."""

    config_hash: str
    """Of the run's settings."""

    architecture: dict[str, Any]
    """The student's, as plain settings (`Inputs.student_entry`): what started it may be gone when
    the run is exported."""

    surroundings: dict[str, Any]
    """What bits depend on: versions, ranks, threads, machine."""

    best: Best | None = None
    """The best evaluation up to `step`; None before the first."""

    stale: int = 0
    """Evaluations since then, each no better."""

    origin: dict[str, Any] | None = None
    """Of a stage, the checkpoint whose weights it started from: `stage`, `step`, `sha256`."""

    def to_plain(self) -> dict[str, Any]:
        """JSON-able values."""
        plain = dataclasses.asdict(self)
        plain["stream"] = json.loads(self.stream.to_json())
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Progressed":
        """Reads `to_plain`'s values.

        Raises:
          LimbeckError: fields missing, unknown or of another type.
        """
        values = dict(plain)
        try:
            values["stream"] = StreamState.from_json(json.dumps(values["stream"]))
            values["best"] = None if values["best"] is None else Best(**values["best"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise LimbeckError(f"its header is not that of a checkpoint: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded or to be saved state of a run."""

    progressed: Progressed
    """Where the run stands."""

    tensors: Mapping[str, np.ndarray]
    """Every variable by name."""

    sha256: str = ""
    """Of what was loaded, in hex; empty before it is saved."""


def progressed_to_bytes(progressed: Progressed) -> bytes:
    """For other ranks."""
    return _canonical(progressed.to_plain()).encode()


def progressed_from_bytes(data: bytes) -> Progressed:
    """Reads `progressed_to_bytes`'s."""
    return Progressed.from_plain(json.loads(data))


def save(directory: Path, checkpoint: Checkpoint, *, keep: int, keep_best: bool = False) -> Path:
    """Writes a checkpoint, removes those that need not stay, and returns its path.

    Equal states give equal bytes. Files of later steps go too: they were passed over as damaged
    when the run was resumed.

    Args:
      directory: of the run's checkpoints.
      checkpoint: what is saved.
      keep: how many of the newest stay.
      keep_best: whether for each of these the one of its best evaluation stays too, so that it is
        there even when the newest turns out to be damaged.
    """
    path = directory / file_name(checkpoint.progressed.step)
    header = {"format": FORMAT, "progressed": checkpoint.progressed.to_plain()}
    header["sha256"] = checkpoint_digest(header, checkpoint.tensors)
    write_tensors(path, checkpoint.tensors, metadata={METADATA_KEY: _canonical(header)})
    for other in list_checkpoints(directory):
        if other.name > path.name:
            other.unlink()
    found = list_checkpoints(directory)
    stay = set(found[:keep])
    if keep_best:
        stay |= {directory / file_name(step) for step in map(_best_step, found[:keep]) if step}
    for old in found:
        if old not in stay:
            old.unlink()
    clean(directory)
    return path


def clean(directory: Path) -> None:
    """Removes what a killed save left under a temporary name."""
    finals = {final_name(path.name) for path in directory.iterdir()}
    remove_leftovers(directory, {name for name in finals if NAME.fullmatch(name)})


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint and checks its hash.

    Raises:
      LimbeckError: the file is damaged, or not a checkpoint; says how.
      OSError: it cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = _header(file)
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LimbeckError(f"{path}: not a whole checkpoint: {error!r}") from error
    if not isinstance(header, dict) or type(header.get("format")) is not int:
        raise LimbeckError(f"{path}: not a checkpoint")
    claimed = header.pop("sha256", None)
    if checkpoint_digest(header, tensors) != claimed:
        raise LimbeckError(f"{path}: damaged: its SHA-256 is not the one in its header")
    if header["format"] not in READ:
        raise UsageError(
            f"{path}: a checkpoint of format {header['format']} from another version of limbeck; "
            f"this one goes on from formats {READ[0]} to {FORMAT}: finish the run with that "
            "version, or delete its directory to start it again"
        )
    try:
        progressed = Progressed.from_plain(header["progressed"])
    except (KeyError, LimbeckError) as error:
        raise LimbeckError(f"{path}: {error}") from error
    return Checkpoint(progressed=progressed, tensors=tensors, sha256=claimed)


def load_newest(directory: Path) -> Checkpoint | None:
    """Loads the newest sound checkpoint; says on stderr which damaged ones it passed over.

    Returns:
      None where there is no checkpoint at all.

    Raises:
      LimbeckError: there are checkpoints, and every one of them is damaged.
      UsageError: the newest sound one is of another version.
    """
    damaged: list[str] = []
    for path in list_checkpoints(directory):
        try:
            checkpoint = load(path)
        except UsageError:
            raise
        except LimbeckError as error:
            damaged.append(str(error))
            print(f"WARNING: {error}", file=sys.stderr, flush=True)
            continue
        if damaged:
            print(
                f"WARNING: going back to {path}, {len(damaged)} checkpoint(s) before the newest",
                file=sys.stderr,
                flush=True,
            )
        return checkpoint
    if damaged:
        raise LimbeckError(
            f"{damaged[0]}; no checkpoint in {directory} is sound, so the run cannot go on: "
            "delete the run's directory to start it again"
        )
    return None


def load_best(directory: Path) -> Checkpoint | None:
    """Loads the checkpoint of the best evaluation that the newest sound one knows of.

    Returns:
      None where there is no checkpoint at all.

    Raises:
      UsageError: nothing was evaluated yet, or the best one was not kept.
      LimbeckError: it is damaged.
    """
    newest = load_newest(directory)
    if newest is None:
        return None
    best = newest.progressed.best
    if best is None:
        raise UsageError(
            f"{directory}: no evaluation yet up to step {newest.progressed.step}, so no checkpoint "
            "is the best; set training.evaluate_every, or take the newest"
        )
    if best.step == newest.progressed.step:
        return newest
    path = directory / file_name(best.step)
    if not path.exists():
        raise UsageError(
            f"{path}: the checkpoint of the best {best.metric} was not kept; set "
            "training.keep_best, or take the newest"
        )
    return load(path)


def load_result(directory: Path, *, best: bool) -> Checkpoint | None:
    """Loads what a run has made so far: with `best` that of its best evaluation, if it had one.

    Returns:
      None where there is no checkpoint at all.

    Raises:
      LimbeckError: as `load_best` and `load_newest`.
    """
    newest = load_newest(directory)
    if newest is None or not best or newest.progressed.best is None:
        return newest
    return load_best(directory)


def peek(path: Path) -> Progressed | None:
    """Where a run stood, from a file's header alone; None where that is damaged.

    For reports: nothing is checked against a hash.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return Progressed.from_plain(_header(file)["progressed"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def file_name(step: int) -> str:
    """Name of the checkpoint after `step` updates."""
    return f"step-{step:08d}.safetensors"


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints of a directory, newest first."""
    found = [path for path in directory.glob("step-*") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _best_step(path: Path) -> int | None:
    """Step of the best evaluation in a file's header; None without one, or where it is damaged."""
    progressed = peek(path)
    return None if progressed is None or progressed.best is None else progressed.best.step


def _header(file: Any) -> Any:
    return json.loads((file.metadata() or {})[METADATA_KEY])


def _canonical(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
