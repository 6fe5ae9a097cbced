"""Runs that end early, since evaluations get no better."""

import dataclasses

import pytest

from limbeck.config import yaml_file
from limbeck.runs import read_metrics
from train.checkpoints import checkpoint
from train.evaluate import Evaluator
from train.loop import train
from train.recipe import Recipe
from train.reports.run_record import read_runs

pytestmark = pytest.mark.usefixtures("deterministic")

VALUES = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5, 10: 2.0, 12: 1.0}


class Stop(Exception):
    pass


@pytest.fixture
def recipe_of(toy):
    toy.examples()
    toy.examples("heldout", num_rows=9, seed=9, page=1000)

    def make(**training):
        plain = toy.recipe(
            data={"heldout": str(toy.root / "heldout")},
            training={"steps": 12, "checkpoint_every": 5, "evaluate_every": 2, **training},
        )
        return yaml_file.from_plain(Recipe, plain, "recipe")

    return make


@pytest.fixture
def listen(monkeypatch):
    """Takes a run's lines; its evaluations give VALUES by step."""
    said, honest = [], Evaluator.scores

    def scores(self):
        step = next(line for line in reversed(said) if line.startswith("step "))[5:]
        found, value = honest(self), VALUES[int(step[: step.index("/")])]
        return dataclasses.replace(found, values={**found.values, "cross_entropy": value})

    monkeypatch.setattr(Evaluator, "scores", scores)
    return said


def saved(run_dir):
    files = checkpoint.list_checkpoints(run_dir / "checkpoints")
    return {int(path.name[5:13]): path.read_bytes() for path in files}


def test_run_ends_after_as_many_evaluations_without_improvement(toy, recipe_of, listen):
    result = train(recipe_of(patience=2), toy.root / "run", say=listen.append)
    assert result.finished and result.step == 8
    text = "stopped early after step 8 of 12: 2 evaluation(s) in a row without a better"
    assert listen[-1].startswith(f"complete  {text} cross_entropy than 3 after step 4")
    newest = checkpoint.load_newest(toy.root / "run" / "checkpoints").progressed
    assert (newest.step, newest.stale, newest.best.step) == (8, 2, 4)
    assert max(line["step"] for line in read_metrics(toy.root / "run" / "metrics.jsonl")) == 8
    (record,) = read_runs([str(toy.root / "run")])
    assert record.is_complete and record.ended_early and record.step == 8
    # It is complete: called again, it makes no step.
    before, told = saved(toy.root / "run"), []
    again = train(recipe_of(patience=2), toy.root / "run", say=told.append)
    assert again.finished and again.step == 8 and again.student is None
    assert len(told) == 1 and "complete, stopped early after step 8 of 12" in told[0]
    assert saved(toy.root / "run") == before


def test_patience_that_does_not_run_out_changes_nothing(toy, recipe_of, listen):
    result = train(recipe_of(patience=3), toy.root / "run", say=listen.append)
    assert result.finished and result.step == 12
    assert listen[-1] == "complete  all 12 steps are done"


def test_result_is_the_best_checkpoint_where_that_is_kept(toy, recipe_of, listen):
    recipe = recipe_of(patience=2, keep_best=True, keep_checkpoints=1)
    train(recipe, toy.root / "run", say=listen.append)
    directory = toy.root / "run" / "checkpoints"
    assert saved(toy.root / "run").keys() == {4, 8}
    assert recipe.training.result_is_best
    assert checkpoint.load_result(directory, best=True).progressed.step == 4
    assert checkpoint.load_result(directory, best=False).progressed.step == 8


def test_interrupted_run_ends_early_in_the_same_bytes(toy, recipe_of, listen):
    recipe = recipe_of(patience=2)
    train(recipe, toy.root / "whole", say=listen.append)
    # Before the evaluation that ends the run, and after it.
    for number, mark in enumerate(("step  7/", "eval  8/")):
        listen.clear()
        cut = toy.root / f"cut-{number}"

        def die(line, mark=mark):
            listen.append(line)
            if line.startswith(mark):
                raise Stop

        with pytest.raises(Stop):
            train(recipe, cut, say=die)
        assert saved(cut).keys() == {5}
        result = train(recipe, cut, say=listen.append)
        assert result.step == 8 and saved(cut) == saved(toy.root / "whole")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"patience": -1}, "patience is -1"),
        ({"patience": 2, "evaluate_every": 0}, "training.patience needs training.evaluate_every"),
        ({"best_metric": "beauty"}, "best_metric is 'beauty', which is no score"),
        ({"best_metric": "seconds_spent"}, "no score of an evaluation"),
    ],
)
def test_stop_rule_that_could_never_hold_is_refused(recipe_of, training, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(**training)
