"""The recipes that come with Limbeck: every one reads, plans, and says what it must say."""

import re
from pathlib import Path

import pytest
import yaml

from launch.environment import project_root
from launch.recipes.catalogue import files, listing, load
from launch.recipes.method import Extract, Train
from launch.recipes.place import Place
from launch.recipes.plan import plan
from launch.recipes.training_recipes import option_text
from limbeck.config import yaml_file

NAMES = (
    *("bert_truncated", "distilbert", "distilgpt2", "distilroberta", "minilm_v1", "minilm_v2"),
    *("multi_teacher", "teacher_assistant", "textbrewer_t3", "textbrewer_t4_tiny"),
    *("tinybert_general", "xtremedistil_stages"),
)


def place_of(name: str, base) -> Place:
    file = files()[name]
    return Place(name=name, folder=file.with_suffix(""), out=Path("out"), base=base)


def test_all_are_there_and_listed():
    assert tuple(files()) == NAMES
    lines = listing().splitlines()[: len(NAMES)]
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_plans_with_a_baseline_of_equal_steps(name, base, monkeypatch):
    monkeypatch.chdir(project_root())
    planned = plan(load(files()[name]), place_of(name, base))
    assert [step.name for step in planned][-2:] == ["baseline", "scores"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_its_paper_did_and_what_it_shrinks(name):
    method = load(files()[name])
    for text in (method.title, method.paper, method.paper_settings, method.shrinks):
        assert text.isascii() and len(text) > 20
    assert re.search(r"\b(19|20)\d\d\b", method.paper)


@pytest.mark.parametrize("name", NAMES)
def test_training_recipes_are_strict(name, base):
    """Each loads with the settings that its step puts in, as `train run` would load it."""
    from train.recipe import Recipe

    method = load(files()[name])
    for step in method.steps:
        if isinstance(step, Train):
            settings = [f"{path}={option_text(value)}" for path, value in step.set.items()]
            file = place_of(name, base).file(step.recipe)
            recipe = yaml_file.load(file, Recipe, overrides=settings)
            assert recipe.num_steps > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_label_that_a_training_reads_is_extracted_before(name):
    made = set()
    for step in load(files()[name]).steps:
        if isinstance(step, Extract):
            made |= {f"${step.name}/{s}/{f}" for s in step.splits for f in step.families}
        if isinstance(step, Train):
            read = {v for k, v in step.set.items() if k.startswith("data.labels.")}
            assert read <= made


def test_baselines_load_as_recipes(base, monkeypatch):
    from train.recipe import Recipe

    monkeypatch.chdir(project_root())
    for name in NAMES:
        for step in plan(load(files()[name]), place_of(name, base)):
            if step.shared:
                (text,) = step.writes.values()
                recipe = yaml_file.loads(text, Recipe, name)
                assert not any(term.signals for term in recipe.objective)


def test_every_file_in_a_folder_is_used():
    for file in files().values():
        used = {step.recipe for step in load(file).steps if isinstance(step, Train)}
        assert used == {path.name for path in file.with_suffix("").iterdir()}


def test_families_are_what_training_recipes_name():
    """A `data.labels` name that `set` does not replace would be read from nowhere."""
    for name, file in files().items():
        for step in load(file).steps:
            if isinstance(step, Train):
                plain = yaml.safe_load((file.with_suffix("") / step.recipe).read_text())
                named = {f"data.labels.{family}" for family in plain["data"].get("labels", {})}
                assert named == {k for k in step.set if k.startswith("data.labels.")}, name
