"""Recipe files: what is read from them, and what is refused before anything runs."""

import pytest

from launch.recipes.catalogue import find, load, with_settings
from launch.recipes.method import Baseline, Evaluate, Export, Extract, Train
from limbeck.config.errors import UsageError


def test_a_recipe_is_read_step_by_step(recipe_file):
    method = load(recipe_file)
    kinds = [type(step) for step in method.steps]
    assert kinds == [Extract, Train, Baseline, Export, Evaluate]
    labels = method.step("labels")
    assert isinstance(labels, Extract)
    assert labels.families["sparse"].k == 10
    assert labels.splits == ("train",)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("run: $student", "run: $pupil", r"'folder' refers to \$pupil"),  # no such step
        ("run: $student", "run: $scores", r"'folder' refers to \$scores"),  # a later one
        ("name: folder", "name: student", "'student' is taken"),
        ("name: folder", "name: teacher", "'teacher' is taken"),  # what the base holds
        ("name: folder", "name: A-b", "use small letters"),
        ("of: student", "of: labels", "'labels', no earlier train step"),
        ("ranks: 2", "ranks: 0", "ranks is 0"),
        ("ranks: 2", "rank: 2", "did you mean 'ranks'"),
        ("step: export", "step: exprt", "expected one of"),
        ("kind: sparse, k: 10", "kind: sparse, k: 0", "k must be a positive integer"),
        ("scores: scores", "scores: folder", "'folder', no evaluate step"),
        ("student: $folder,", "pupil: $folder,", "does not score 'student'"),
        ("scores: scores", "scores: scores\n  metric: f1", "must be among shown"),
        ("objective: [{loss: mlm}]", "objective: []", "objective is empty"),
        ("title: A method", "subtitle: A method", "unknown key 'subtitle'"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(recipe_file, old, new, message):
    text = recipe_file.read_text()
    assert old in text
    recipe_file.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as caught:
        load(recipe_file)
    assert str(caught.value).startswith(f"{recipe_file}:")


def test_families_and_a_recipe_file_together_are_refused(recipe_file):
    text = recipe_file.read_text().replace(
        "    families:", "    recipe: labels.yaml\n    families:"
    )
    recipe_file.write_text(text)
    with pytest.raises(UsageError, match="give families or recipe"):
        load(recipe_file)


def test_unknown_name_is_refused_with_a_proposal():
    with pytest.raises(UsageError, match="did you mean 'minilm_v2'"):
        find("minlm_v2")
    with pytest.raises(UsageError, match="one of bert_truncated"):
        find("qqq")


def test_settings_go_into_their_step(recipe_file):
    method = with_settings(load(recipe_file), ["student.training.steps=20"])
    step = method.step("student")
    assert isinstance(step, Train)
    assert step.set["training.steps"] == 20
    assert step.set["model.checkpoint"] == "$teacher"


@pytest.mark.parametrize(
    "text", ["student", "pupil.training.steps=2", "folder.run=x", "student.=2"]
)
def test_settings_of_no_step_are_refused(recipe_file, text):
    with pytest.raises(
        UsageError, match=r"expected STEP\.SETTING=VALUE.*labels, student, baseline"
    ):
        with_settings(load(recipe_file), [text])
