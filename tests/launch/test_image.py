"""The commands that build images, with a fake docker; no image is built."""

import shlex
import subprocess

import pytest

from launch.environment import project_root
from launch.image import image
from limbeck.config.errors import UsageError


@pytest.mark.parametrize("kind", ["cpu", "gpu", "dataflow"])
def test_dry_run_prints_the_command_and_runs_nothing(kind, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert image([kind, "--tag", "registry.example:5000/a/limbeck:1.0", "--dry-run"]) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    words = shlex.split(out)
    assert words[:2] == ["docker", "build"]
    assert words[words.index("--file") + 1].endswith(f"launch/containers/Dockerfile.{kind}")
    assert words[words.index("--tag") + 1] == "registry.example:5000/a/limbeck:1.0"
    assert words[-1] == str(project_root())


@pytest.mark.parametrize("fails", ["build", "push", "nothing"])
def test_fake_engine_builds_then_pushes_until_one_fails(fails, tmp_path, monkeypatch):
    engine = tmp_path / "podman"
    engine.write_text(
        f'#!/bin/bash\necho "$1" >> "{tmp_path}/calls"\n[[ $1 != {fails} ]] || exit 9\n'
    )
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code = image(["cpu", "--tag", "limbeck:1", "--engine", "podman", "--push"])
    assert code == (0 if fails == "nothing" else 9)
    calls = (tmp_path / "calls").read_text().split()
    assert calls == (["build"] if fails == "build" else ["build", "push"])


@pytest.mark.parametrize("tag", ["", "-x", "Limbeck:1", "registry/Limbeck", "a b"])
def test_name_that_no_engine_takes_is_one_line(tag):
    with pytest.raises(UsageError, match="not an image's name"):
        image(["cpu", f"--tag={tag}", "--dry-run"])


def test_missing_engine_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="--engine podman: there is no such program on PATH"):
        image(["cpu", "--tag", "a:1", "--engine", "podman"])
