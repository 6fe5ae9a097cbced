"""What of the shared base is made for a recipe: only what it names and what that needs."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from launch.holding import BASE_LOCK
from launch.recipes import base
from launch.recipes.base import base_paths, make_base, missing_base, provide_base
from launch.recipes.names import BASE, FEW
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


@pytest.mark.parametrize(
    "manifest, is_whole",
    [
        ({"content": {"settings": {"heldout_fraction": 1 - FEW}}}, True),
        ({"content": {"settings": {"heldout_fraction": 0.6}}}, False),  # as it once was
        ({"content": {}}, False),
        ([], False),
    ],
)
def test_few_of_another_share_are_not_whole(tmp_path, manifest, is_whole):
    whole(tmp_path / "documents", "manifest.json")
    whole(tmp_path / "few" / "train", "manifest.json", json.dumps(manifest))
    (tmp_path / "few" / "tokenizer").mkdir()
    assert ("few" not in missing_base(["few"], tmp_path)) == is_whole


def test_few_are_one_share_wherever_they_are_named():
    assert f"{FEW:.0%} of the pages" in BASE["few"]


def test_few_of_another_share_are_removed_before_they_are_made(tmp_path, monkeypatch, capsys):
    whole(tmp_path / "few" / "train", "manifest.json")
    made = []
    monkeypatch.setattr(base, "prepare_examples", lambda *args, **kwargs: made.append(kwargs))
    make_base(("few",), tmp_path, Steps(log_directory=tmp_path, total=1))
    assert made == [{"name": "few"}]
    assert not (tmp_path / "few").exists()
    assert "making it anew" in capsys.readouterr().out


def whole(directory: Path, file: str, text: str = "{}") -> None:
    directory.mkdir(parents=True)
    (directory / file).write_text(text)


def test_names_have_paths_and_makers(tmp_path, monkeypatch):
    assert set(base_paths(tmp_path)) == set(BASE) == set(base.ORDER) == set(base.NEEDS)
    fetched = []
    monkeypatch.setattr(base, "_fetch", fetched.append)
    steps = Steps(log_directory=tmp_path, total=0)
    make_base(("encoder", "newsgroups"), tmp_path, steps)
    assert fetched == ["demo", "newsgroups"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "launch.recipes.base", *arguments]


def test_what_another_run_makes_is_waited_for(tmp_path):
    """Two recipes with an --out each share the base: the second takes what the first has made."""
    with (tmp_path / BASE_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = command("documents", "--demo", str(tmp_path))
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout.readline() == (
                f"{tmp_path} is in use by another run; waiting for its end ...\n"
            )
            whole(tmp_path / "documents", "manifest.json")
            fcntl.flock(lock, fcntl.LOCK_UN)
            said, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert said == f"documents: {tmp_path / 'documents'}\n"


def test_what_is_whole_is_not_locked(tmp_path):
    """A base that may only be read will do."""
    whole(tmp_path / "documents", "manifest.json")
    steps = provide_base({"documents"}, tmp_path, log_directory=tmp_path / "logs", num_later=3)
    assert (steps.total, steps.keep_open) == (3, ())
    assert not (tmp_path / BASE_LOCK).exists()


def test_a_name_that_is_not_known_is_wrong_usage():
    done = subprocess.run(command("docs"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'docs'" in done.stderr
