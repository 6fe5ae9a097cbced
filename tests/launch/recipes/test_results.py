"""The row of a finished recipe, and the table of all."""

import json

import pytest

from launch.recipes.catalogue import load
from launch.recipes.lineage import Lineage, Output
from launch.recipes.place import Place
from launch.recipes.results import append, make_row, markdown, read_rows
from limbeck.config.errors import LimbeckError

SCORES = {
    "student": {"accuracy": 0.21, "cross_entropy": 5.61, "kl_to_teacher": 0.14},
    "baseline": {"accuracy": 0.22, "cross_entropy": 5.80, "kl_to_teacher": 0.26},
}


@pytest.fixture
def finished(recipe_file, base):
    """A recipe whose lineage and scores are there."""
    place = Place(
        name="toy", folder=recipe_file.with_suffix(""), out=recipe_file.parent / "out", base=base
    )
    lineage = Lineage(place.directory, recipe="toy")
    for index, step in enumerate(load(recipe_file).steps):
        path = place.directory / step.name
        path.mkdir(parents=True, exist_ok=True)
        made = Output(step=step.step, path=str(path), id=f"id{index}", commands=(), seconds=10.0)
        lineage.put(step.name, made)
    for name, scores in SCORES.items():
        (place.directory / "scores" / f"{name}.json").write_text(json.dumps(scores))
    return load(recipe_file), place, lineage


def test_a_row_says_what_was_compared(finished):
    row = make_row(*finished)
    assert row["recipe"] == "toy"
    assert row["steps"] == 10
    assert row["seconds"] == 40.0  # all steps but the baseline
    assert row["baseline_seconds"] == 10.0
    assert row["training_seconds"] == 10.0
    assert row["scores"]["student"] == SCORES["student"]
    assert row["beats_baseline"] is True  # in cross-entropy, though not in accuracy


@pytest.mark.parametrize("metric, better, beats", [("accuracy", "higher", False)])
def test_the_metric_of_the_recipe_decides(finished, recipe_file, metric, better, beats):
    _, place, lineage = finished
    recipe_file.write_text(f"{recipe_file.read_text()}  metric: {metric}\n  better: {better}\n")
    assert make_row(load(recipe_file), place, lineage)["beats_baseline"] is beats


def test_a_metric_that_was_not_measured_is_an_error(finished):
    method, place, lineage = finished
    (place.directory / "scores" / "student.json").write_text('{"accuracy": 0.5}')
    with pytest.raises(LimbeckError, match="has no 'cross_entropy'.*may name accuracy"):
        make_row(method, place, lineage)


def test_a_metric_of_a_head_is_found(finished, recipe_file):
    _, place, lineage = finished
    for name, scores in SCORES.items():
        text = json.dumps({**scores, "metrics": {"accuracy_tags": 0.5}, "cosines": {}})
        (place.directory / "scores" / f"{name}.json").write_text(text)
    recipe_file.write_text(f"{recipe_file.read_text()}  shown: [cross_entropy, accuracy_tags]\n")
    row = make_row(load(recipe_file), place, lineage)
    assert row["scores"]["student"] == {"cross_entropy": 5.61, "accuracy_tags": 0.5}


def test_a_row_is_added_once(finished):
    _, place, lineage = finished
    row = make_row(*finished)
    assert append(place.out, row)
    assert not append(place.out, make_row(*finished))
    lineage.put("student", Output(**{**vars(lineage.outputs["student"]), "id": "other"}))
    assert append(place.out, make_row(*finished))
    assert len(read_rows(place.out)) == 2


def test_a_changed_recipe_has_a_row_of_its_own(finished):
    """Whatever was set stands beside the name; the row of the recipe as it is stays."""
    _, place, _ = finished
    settings = ["student.training.steps=9", "student.name=a|b", "student.training.steps=20"]
    row, changed = make_row(*finished), make_row(*finished, settings=settings)
    assert row["set"] == []
    assert changed["set"] == ["student.name=a|b", "student.training.steps=20"]
    for added in (row, changed):
        assert append(place.out, added)
        assert not append(place.out, added)
    del row["set"]  # as rows of before
    text = markdown([row, changed])
    assert "| toy |" in text
    assert "| toy, student.name=a\\|b, student.training.steps=20 |" in text


def test_the_table_shows_the_newest_row_of_each_recipe(finished):
    _, place, _ = finished
    row = make_row(*finished)
    newer = {**row, "seconds": 99.0, "outputs": {}, "note": "mechanics, not quality"}
    text = markdown([row, {**row, "recipe": "other"}, newer])
    assert text.count("| toy |") == 1
    assert "| toy |  | 10 | 99 | 21.0% (22.0%) | 5.610 (5.800) | 0.1400 (0.2600) | yes, in" in text
    assert "mechanics, not quality" in text
    append(place.out, row)
    assert "| toy |" in (place.out / "results.md").read_text()


def test_recipes_of_other_metrics_have_a_table_of_their_own(finished):
    row = make_row(*finished)
    scores = {who: {"accuracy": s["accuracy"]} for who, s in SCORES.items()}
    text = markdown([row, {**row, "recipe": "task", "scores": scores, "metric": "accuracy"}])
    assert text.count("| recipe |") == 2


def test_a_damaged_table_is_an_error(tmp_path):
    (tmp_path / "results.jsonl").write_text("{\n")
    with pytest.raises(LimbeckError, match="a line is no JSON"):
        read_rows(tmp_path)
