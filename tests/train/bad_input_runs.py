"""Runs that are not what they seem, made of a finished one."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np

from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Checkpoint


def make(root: Path) -> None:
    """Copies ROOT/run into a directory for each kind of trouble."""
    for name in ("other_model", "other_tensors", "other_settings", "other_data", "all_damaged"):
        shutil.copytree(root / "run", root / name)
    other_model, other_tensors = root / "other_model", root / "other_tensors"
    _resave(other_model, lambda state: _progressed(state, architecture=_wider(state)))
    _resave(other_tensors, _other_shape)
    config = json.loads((root / "other_settings/config.json").read_text())
    config["seed"] += 1  # as if the checkpoints of one run had been copied to another
    (root / "other_settings/config.json").write_text(json.dumps(config))
    _resave(root / "other_data", lambda state: _progressed(state, stream=_moved(state)))
    for path in checkpoint.list_checkpoints(root / "all_damaged/checkpoints"):
        path.write_bytes(path.read_bytes()[:-1])


def _resave(run_dir: Path, change) -> None:
    """Changes the newest checkpoint, and takes it one step back so that the run has work left."""
    directory = run_dir / "checkpoints"
    newest = checkpoint.load_newest(directory)
    state = change(newest)
    step = state.progressed.step - 1
    shutil.rmtree(directory)
    directory.mkdir()
    progressed = dataclasses.replace(state.progressed, step=step)
    checkpoint.save(directory, dataclasses.replace(state, progressed=progressed), keep=1)


def _progressed(state: Checkpoint, **changes) -> Checkpoint:
    return dataclasses.replace(state, progressed=dataclasses.replace(state.progressed, **changes))


def _wider(state: Checkpoint) -> dict:
    return {**state.progressed.architecture, "hidden_dim": 16}


def _moved(state: Checkpoint):
    return dataclasses.replace(state.progressed.stream, dataset_ids=("f" * 64,), seed=99)


def _other_shape(state: Checkpoint) -> Checkpoint:
    name = "projection/2_hidden_mse/kernel"
    tensors = {**state.tensors, name: np.zeros((8, 13), np.float32)}
    return dataclasses.replace(state, tensors=tensors)
