"""Ids of outputs: equal for equal content, others for others."""

import json
import struct

import pytest

from launch.recipes.identity import describe_student, identify
from limbeck.config.errors import LimbeckError


def test_nothing_has_no_id(tmp_path):
    assert identify(tmp_path / "nothing") is None
    assert identify(tmp_path) is None


def test_a_dataset_is_its_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"id": "abc", "provenance": 1}))
    assert identify(tmp_path) == "abc"
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(LimbeckError, match="is no manifest"):
        identify(tmp_path)


def test_a_run_is_its_newest_checkpoint(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    assert identify(tmp_path) is None
    (checkpoints / "step-00000010.safetensors").write_bytes(b"ten")
    ten = identify(tmp_path)
    (checkpoints / "step-00000020.safetensors").write_bytes(b"twenty")
    assert identify(tmp_path) not in (None, ten)
    (tmp_path / "metrics.jsonl").write_text("times")
    (checkpoints / "step-00000020.safetensors").write_bytes(b"ten")
    assert identify(tmp_path) == ten


def test_logs_and_temporary_files_do_not_count(tmp_path):
    (tmp_path / "one").write_text("1")
    before = identify(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a").write_text("2")
    (tmp_path / "two.tmp-12-0123abcd").write_text("3")
    assert identify(tmp_path) == before
    (tmp_path / "two").write_text("3")
    assert identify(tmp_path) != before


def test_a_student_is_described_by_its_checkpoint(tmp_path):
    assert describe_student(tmp_path) == ""
    (tmp_path / "checkpoints").mkdir()
    entry = {"step": 1, "architecture": {"shape": {"num_layers": 3, "hidden_dim": 384}}}
    header = json.dumps({"__metadata__": {"limbeck": json.dumps(entry)}}).encode()
    file = tmp_path / "checkpoints" / "step-00000001.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    assert describe_student(tmp_path) == "3 x 384"
