"""What of the shared base is made for a recipe: only what it names and what that needs."""

from pathlib import Path

import pytest

from launch.recipes import base
from launch.recipes.base import base_paths, make_base, missing_base
from launch.recipes.names import BASE
from launch.steps import Steps


@pytest.mark.parametrize(
    "names, missing",
    [
        (["documents"], ("documents",)),
        (["examples"], ("encoder", "documents", "examples")),
        (["teacher"], ("encoder", "documents", "examples", "teacher")),
        (["newsgroups", "encoder"], ("encoder", "newsgroups")),
        ([], ()),
    ],
)
def test_only_what_is_needed_is_made(tmp_path, names, missing):
    assert missing_base(names, tmp_path) == missing


def test_what_is_whole_is_left_alone(tmp_path):
    whole(tmp_path / "documents", "manifest.json")
    for part in ("train", "heldout"):
        whole(tmp_path / "examples" / part, "manifest.json")
    assert missing_base(["examples"], tmp_path) == ("encoder", "examples")  # no tokenizer yet
    (tmp_path / "examples" / "tokenizer").mkdir()
    assert missing_base(["examples"], tmp_path) == ("encoder",)  # whose files are hashed there


def whole(directory: Path, file: str) -> None:
    directory.mkdir(parents=True)
    (directory / file).write_text("{}")


def test_names_have_paths_and_makers(tmp_path, monkeypatch):
    assert set(base_paths(tmp_path)) == set(BASE) == set(base.ORDER) == set(base.NEEDS)
    fetched = []
    monkeypatch.setattr(base, "_fetch", fetched.append)
    steps = Steps(log_directory=tmp_path, total=0)
    make_base(("encoder", "newsgroups"), tmp_path, steps)
    assert fetched == ["demo", "newsgroups"]
