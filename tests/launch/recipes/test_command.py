"""`python -m launch.recipes` as a user meets it."""

import json
import os
import re
import subprocess
import sys

import pytest

from launch.data import data_dir, missing_items
from launch.demo.pipeline import Demo, prepare_documents
from launch.demo.scale import SHORT
from launch.environment import project_root
from launch.recipes.lineage import Lineage
from launch.recipes.results import JSONL
from launch.steps import Steps


def run(*arguments: str, cwd=None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.recipes", *arguments],
        cwd=cwd or project_root(),
        env={**os.environ, "PYTHONPATH": str(project_root())},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_no_name_lists_the_recipes():
    for arguments in ([], ["--list"]):
        done = run(*arguments)
        assert done.returncode == 0
        assert "  minilm_v2 " in done.stdout


def test_an_unknown_name_is_wrong_usage():
    done = run("minilm_v3")
    assert done.returncode == 2
    assert done.stderr.startswith("launch.recipes: error: no recipe 'minilm_v3'; did you mean")
    assert done.stdout == ""


def test_a_dry_run_leaves_nothing(tmp_path):
    done = run("teacher_assistant", "--dry-run", "--out", str(tmp_path / "out"))
    assert done.returncode == 0
    assert len(re.findall(r"^\S*mpirun -np 2 .* python -m train run ", done.stdout, re.M)) == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "setting",
    ["distil.seed.x=5", "distil.objective.7.weight=5", "student.data.examples=$foo", "labels.x"],
)
def test_a_wrong_setting_is_wrong_usage(setting):
    done = run("minilm_v2", "--dry-run", "--set", setting)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"launch.recipes: error: --set {setting}: ")


def test_a_mistake_in_a_later_step_is_found_before_the_first(recipe_file, tmp_path):
    file = recipe_file.with_suffix("") / "student.yaml"
    file.write_text(file.read_text().replace("loss: kl", "loss: klx"))
    done = run(str(recipe_file), "--out", "out", "--demo", "demo", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("launch.recipes: error: toy/student.yaml:12: objective[0].loss")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "demo").exists()


def test_a_recipe_of_the_same_name_does_not_write_over_another(recipe_file, tmp_path):
    """Not even with --fresh; where the other file is gone, its outputs are this one's."""
    other = tmp_path / "others" / "toy.yaml"
    other.parent.mkdir()
    other.write_text("")
    directory = tmp_path / "out" / "toy"
    Lineage(directory, recipe="toy", recipe_file=str(other)).forget([])
    arguments = [str(recipe_file), "--out", "out", "--dry-run", "--fresh"]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert f"out/toy holds what {other} made; rename this recipe" in done.stderr
    other.unlink()
    assert run(*arguments, cwd=tmp_path).returncode == 0


def test_make_runs_the_recipe_that_name_names():
    """WSL sets NAME in the environment; only the command line counts."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "recipe", "NAME=minilm_v2"],
        cwd=project_root(),
        capture_output=True,
        text=True,
    )
    assert "-m launch.recipes minilm_v2" in done.stdout
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "recipe"],
        cwd=project_root(),
        env={"PATH": "/usr/bin:/bin", "NAME": "host"},
        capture_output=True,
        text=True,
    )
    assert "host" not in done.stdout


TOY = {
    "teacher.yaml": ["training.steps=6", "optimizer.warmup_steps=2"],
    "student.yaml": ["training.steps=4", "optimizer.warmup_steps=2"],
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(missing_items(data_dir())), reason="needs the data of make setup")
def test_a_recipe_runs_to_its_row_and_runs_again_in_no_time(tmp_path):
    """distilroberta needs of the demo its documents only, and trains a teacher of its own."""
    demo = Demo(scale=SHORT, out=tmp_path / "demo")
    prepare_documents(demo, Steps(log_directory=tmp_path / "logs", total=1))
    settings = [
        f"--set={step}.{setting}"
        for step, name in (("teacher_run", "teacher.yaml"), ("student", "student.yaml"))
        for setting in TOY[name]
    ]
    arguments = ["distilroberta", "--out", str(tmp_path / "out"), "--demo", str(demo.out)]
    first = run(*arguments, *settings, timeout=1500)
    assert first.returncode == 0, first.stdout[-2000:] + first.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "out" / JSONL).read_text().splitlines()]
    assert row["recipe"] == "distilroberta"
    assert row["student"] == "2 x 192"
    assert row["steps"] == 4
    assert 0 < row["scores"]["student"]["cross_entropy"] < 20
    lineage = json.loads((tmp_path / "out" / "distilroberta" / "lineage.json").read_text())
    outputs = lineage["outputs"]
    assert outputs["student"]["parents"]["labels"] == outputs["labels"]["id"]
    assert outputs["labels"]["parents"]["own_teacher"] == outputs["own_teacher"]["id"]
    again = run(*arguments, *settings)
    assert again.returncode == 0
    assert "is there already" in again.stdout
    assert len((tmp_path / "out" / JSONL).read_text().splitlines()) == 1
