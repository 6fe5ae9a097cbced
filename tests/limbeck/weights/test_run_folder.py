"""Runs of `train run` as sources."""

import dataclasses
import json

import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.weights import fingerprint, write_tensors
from limbeck.weights.convert import convert
from limbeck.weights.hf import export_hf, load_model
from limbeck.weights.run_folder import checkpoint_digest

SHAPE = EncoderArchitecture(
    vocab_size=97,
    num_layers=2,
    hidden_dim=16,
    num_heads=2,
    intermediate_dim=24,
    max_positions=40,
    family="roberta",
    type_vocab_size=1,
    pad_id=1,
    position_offset=2,
)


def write(directory, model, *, step=7):
    """A checkpoint as `train.checkpoints.checkpoint.save` writes it."""
    header = {"format": 1, "progressed": {"architecture": dataclasses.asdict(model.architecture)}}
    tensors = {f"model/{n}": np.asarray(v) for n, v in named_variables(model).items()}
    tensors["projections/hidden_2/kernel"] = np.ones((16, 32), np.float32)
    tensors["optimizer/00000"] = np.ones((), np.int64)
    header["sha256"] = checkpoint_digest(header, tensors)
    (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
    path = directory / "checkpoints" / f"step-{step:08d}.safetensors"
    write_tensors(path, tensors, metadata={"limbeck": json.dumps(header)})
    return path


def test_newest_student_is_read_and_converted(tmp_path):
    old, new = (build(SHAPE, seed=seed) for seed in (1, 2))
    write(tmp_path / "run", old, step=7)
    write(tmp_path / "run", new, step=12)
    model, report = load_model(tmp_path / "run")
    assert model.architecture == SHAPE and not report.initialised
    assert dict(report.unused) == {
        "projections/hidden_2/kernel": "for training only",
        "optimizer/00000": "the optimiser's",
    }
    for name, variable in named_variables(new).items():
        np.testing.assert_array_equal(np.asarray(variable), named_variables(model)[name])
    convert(tmp_path / "run", tmp_path / "out", to="hf", tokenizer="none")
    export_hf(new, tmp_path / "direct", tokenizer=None)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "out")


def test_tokenizer_is_the_one_beside_the_examples(tmp_path, vocab_file):
    write(tmp_path / "run", build(SHAPE, seed=1))
    with pytest.raises(LimbeckError, match="config.json: names no examples"):
        convert(tmp_path / "run", tmp_path / "out", to="hf")
    (tmp_path / "data" / "tokenizer").mkdir(parents=True)
    (tmp_path / "data" / "tokenizer" / "vocab.txt").write_bytes(vocab_file.read_bytes())
    settings = {"data": {"examples": str(tmp_path / "data" / "examples")}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    convert(tmp_path / "run", tmp_path / "out", to="hf")
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == vocab_file.read_bytes()


def test_run_without_or_with_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match="no checkpoint yet"):
        load_model(tmp_path)
    path = write(tmp_path, build(SHAPE, seed=1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(LimbeckError, match="step-00000007.safetensors: not a sound safetensors"):
        load_model(tmp_path)
    flipped = bytearray(whole)
    flipped[-5] ^= 1  # a bit of a weight
    path.write_bytes(flipped)
    with pytest.raises(LimbeckError, match="step-00000007.safetensors: damaged: its SHA-256"):
        load_model(tmp_path)
    write_tensors(path, {"model/x": np.ones(1, np.float32)})
    with pytest.raises(LimbeckError, match="step-00000007.safetensors: not a run's checkpoint"):
        load_model(tmp_path)
