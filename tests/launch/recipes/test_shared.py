"""Outputs that recipes share are taken when whole, and made anew where they are not."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from launch.environment import project_root
from launch.recipes.lineage import FILE
from launch.recipes.runner import command_line
from limbeck.config.errors import LimbeckError

HERE = Path(__file__).parent


def _module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cheap = _module("cheap_recipe")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{project_root()}")


@pytest.fixture
def run(tmp_path):
    """Runs `a` and a shared step made of it, as the recipe of a name."""

    def run_one(recipe: str, **texts: str):
        planned = cheap.steps(tmp_path / recipe, texts=texts)[:1]
        planned.append(cheap.shared_step(tmp_path / "baselines", texts.get("run", "run")))
        return cheap.run(tmp_path / recipe, planned)

    return run_one


def num_made(tmp_path) -> int:
    return len((tmp_path / "baselines" / "run.starts").read_text().splitlines())


def test_another_recipe_takes_what_is_whole(tmp_path, run):
    made = run("first").outputs["run"]
    assert run("second").outputs["run"] == made
    assert num_made(tmp_path) == 1


def damage(directory: Path) -> None:
    (directory / "key" / "run" / "result").write_text("half")


def lose(directory: Path) -> None:
    shutil.rmtree(directory / "key" / "run")


def cut_lineage(directory: Path) -> None:
    (directory / "key" / FILE).write_text("{")


def lose_lineage(directory: Path) -> None:
    (directory / "key" / FILE).unlink()


@pytest.mark.parametrize(
    "spoil, why",
    [
        (damage, "changed or damaged since"),
        (lose, "changed or damaged since"),
        (cut_lineage, "its lineage is damaged"),
        (lose_lineage, "not known of what"),
    ],
)
@pytest.mark.parametrize("recipe", ["first", "second"])  # the one that made it, or another
def test_what_is_damaged_is_made_anew(tmp_path, run, capsys, spoil, why, recipe):
    made = run("first").outputs["run"]
    spoil(tmp_path / "baselines")
    again = run(recipe).outputs["run"]
    assert again.id == made.id
    assert num_made(tmp_path) == 2
    assert f"{tmp_path / 'baselines' / 'key'}: it" in capsys.readouterr().out.replace("its", "it")
    assert run("first").outputs["run"] == run("second").outputs["run"] == again


def test_what_was_made_of_other_inputs_is_made_anew(tmp_path, run, capsys):
    run("first")
    run("second", a="new")
    assert num_made(tmp_path) == 2
    assert "it was made of other inputs; making it anew" in capsys.readouterr().out


def test_half_of_other_inputs_is_removed(tmp_path, run, capsys):
    """As a training that was killed after a checkpoint, before its teacher was made anew."""
    with pytest.raises(LimbeckError):
        run("first", run="fail")
    checkpoint = tmp_path / "baselines" / "key" / "run" / "checkpoint"
    checkpoint.parent.mkdir()
    checkpoint.write_text("of the old inputs")
    with pytest.raises(LimbeckError):
        run("first", run="fail")
    assert checkpoint.exists()  # gone on with, as long as the inputs are the same
    run("second", a="new")
    assert not checkpoint.exists()
    assert "it was begun with other inputs; making it anew" in capsys.readouterr().out


def test_other_ways_to_write_a_path_change_nothing(tmp_path, run):
    """The baseline's directory is named by what it is made with; its commands follow from that."""
    run("first", run="one")
    assert command_line(cheap.shared_step(tmp_path / "baselines", "one").commands[0]) != (
        command_line(cheap.shared_step(tmp_path / "baselines", "two").commands[0])
    )
    run("second", run="two")
    assert num_made(tmp_path) == 1
