"""The run directory: created once, kept for its own settings, refused to others."""

import subprocess
import sys
from pathlib import Path

import pytest

from limbeck.config.errors import UsageError
from limbeck.runs import RunDirectory

CONFIG = {"name": "a", "training": {"steps": 10, "layers": (1, 2)}, "rate": 5e-5, "none": None}


def test_same_settings_may_take_the_directory_again(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "deep" / "run")
    run.take(CONFIG)
    before = run.config_file.read_bytes(), run.config_hash
    run.take(CONFIG)
    assert (run.config_file.read_bytes(), run.config_hash) == before
    assert run.read_config()["training"] == {"steps": 10, "layers": [1, 2]}
    assert all(d.is_dir() for d in (run.checkpoints, run.tensorboard, run.heartbeat, run.logs))


def test_other_settings_are_refused_with_every_difference(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.take(CONFIG)
    other = {"name": "a", "training": {"steps": 20, "layers": [1, 2]}, "rate": 5e-5, "new": 1}
    with pytest.raises(UsageError) as caught:
        run.take(other)
    for words in (
        str(tmp_path),
        "training.steps is 10 there and 20 here",
        "none is null there and missing here",
        "new is missing there and 1 here",
        "choose another directory or delete it",
    ):
        assert words in str(caught.value)
    run.take(CONFIG)


def test_directory_with_something_else_inside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="'thesis.txt' but no config.json"):
        RunDirectory(tmp_path).take(CONFIG)


def test_leftovers_of_a_start_that_was_killed_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json.tmp-12-abcdef12").write_text("{")
    RunDirectory(tmp_path).take(CONFIG)


def test_damaged_settings_and_impossible_places_are_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UsageError, match=r"config.json: No such file"):
        run.read_config()
    run.take(CONFIG)
    for text in ("{", "[]"):
        run.config_file.write_text(text)
        with pytest.raises(UsageError, match=r"config.json: (damaged|not)"):
            run.take(CONFIG)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file"):
        RunDirectory(tmp_path / "file" / "run").take(CONFIG)


def test_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.take(CONFIG)
    program = (
        "import sys\n"
        "from limbeck.runs import RunDirectory\n"
        "with RunDirectory(sys.argv[1]).lock():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="in use by another process"), run.lock():
            pass
        process.kill()
    with run.lock():
        pass
