"""Recipe files: what is read from them, and what is refused before anything runs."""

import pytest

from launch.recipes.catalogue import files, find, load, name_of
from launch.recipes.method import Baseline, Evaluate, Export, Extract, Train
from launch.recipes.written import setting_places, step_place, with_settings
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
        ("scores: scores", "scores: scores\n  metric: perplexity", "must be among shown"),
        ("scores: scores", "scores: scores\n  metric: f1", "metric is 'f1', which no evaluation"),
        ("scores: scores", "scores: scores\n  shown: [loss]", r"shown\[0\] is 'loss', which no"),
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
    "text, value",
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("name", "name"),
        ('"12"', "12"),  # text, as it is quoted
        ("[1, 2]", (1, 2)),
        ("[1, 0.5]", (1.0, 0.5)),
        ("[a, b]", ("a", "b")),
    ],
)
def test_values_are_yaml(recipe_file, text, value):
    step = with_settings(load(recipe_file), [f"baseline.model.layers={text}"]).step("baseline")
    assert isinstance(step, Baseline)
    assert step.set == {"model.layers": value}
    assert [type(part) for part in step.set.values()] == [type(value)]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("student.model.layers=[a, 1]", r"\[0\] is 'a'; expected a whole number"),
        ("student.data.examples=$foo", r"\$foo is none of labels, documents"),
        ("student.data.examples=$folder", r"\$folder is none of"),  # a later step
        ("student.model.layers=[1", "expected ',' or ']'"),
        ("student.model.layers=", "expected text, a number, true"),
        ("student.model.layers={a: 1}", "expected text, a number, true"),
        ("student.seed=010", "ambiguous"),
    ],
)
def test_values_that_are_none_are_refused_with_their_assignment(recipe_file, text, problem):
    with pytest.raises(UsageError, match=problem) as caught:
        with_settings(load(recipe_file), ["student.seed=3", text])
    assert str(caught.value).startswith(f"--set {text}: ")


def test_settings_are_found_where_they_were_written(recipe_file):
    method = with_settings(load(recipe_file), ["student.seed=3", "baseline.seed=3"])
    lines = recipe_file.read_text().splitlines()
    number = lines.index("  - step: train") + 1
    assert step_place(method, "student") == f"{recipe_file}:{number}"
    places = setting_places(method, "student")
    number = next(i for i, line in enumerate(lines, start=1) if "model.checkpoint" in line)
    assert places["model.checkpoint"] == f"{recipe_file}:{number}"
    assert places["seed"] == "--set student.seed=3"
    assert setting_places(method, "baseline") == {"seed": "--set baseline.seed=3"}


@pytest.mark.parametrize("name", ["minilm_v2", "baselines"])
def test_names_that_others_write_to_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="rename the file"):
        name_of(tmp_path / f"{name}.yaml")
    assert name_of(tmp_path / "mine.yaml") == "mine"
    assert name_of(files()["minilm_v2"]) == "minilm_v2"


@pytest.mark.parametrize(
    "text", ["student", "pupil.training.steps=2", "folder.run=x", "student.=2", "student.a..b=2"]
)
def test_settings_of_no_step_are_refused(recipe_file, text):
    with pytest.raises(
        UsageError, match=r"expected STEP\.SETTING=VALUE.*labels, student, baseline"
    ):
        with_settings(load(recipe_file), [text])
