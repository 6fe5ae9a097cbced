"""Checkpoints beside a running job: what is saved is the step's, and steps do not wait for it."""

import dataclasses
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.models.names import named_variables
from train.checkpoints import checkpoint
from train.checkpoints.restore import load_run
from train.checkpoints.saving import host_array, weights_checksums
from train.evaluate import Evaluator
from train.evaluation.models import open_model
from train.loop import train
from train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("deterministic")


def recipe_of(toy, **changes):
    return yaml_file.from_plain(Recipe, toy.recipe(**changes), "recipe")


def saved(run_dir):
    """Step -> bytes of its checkpoint."""
    files = checkpoint.list_checkpoints(run_dir / "checkpoints")
    return {int(path.name[5:13]): path.read_bytes() for path in files}


def silent(line):
    pass


@pytest.mark.parametrize("compiled", [None, True])
def test_value_that_was_looked_at_stays_when_the_variable_changes(compiled):
    start = np.arange(6, dtype=np.float32).reshape(2, 3)
    variables = [keras.Variable(start), keras.Variable(7, dtype="int64")]

    @tf.function(jit_compile=compiled)
    def update():
        variables[0].value.assign_add(tf.ones((2, 3)))
        variables[0].value.assign(variables[0].value * 2.0)
        variables[1].value.assign_add(1)

    update()
    looked = [host_array(v) for v in variables]
    for _ in range(3):
        update()
    np.testing.assert_array_equal(looked[0], (start + 1) * 2)
    assert looked[0].dtype == np.float32 and int(looked[1]) == 8
    assert not np.array_equal(looked[0], host_array(variables[0]))


def test_checksums_tell_which_variable_differs():
    named = {"a": keras.Variable(np.ones((2, 3), np.float32)), "b": keras.Variable(0.0)}
    before = weights_checksums(named)
    named["a"].assign(np.nextafter(named["a"].numpy(), np.float32(2)))
    assert (weights_checksums(named) != before).tolist() == [True, False]


def test_steps_go_on_while_a_checkpoint_is_written(toy, monkeypatch):
    """The save of step 3 is held up until step 5 is done: without a thread this would not end."""
    toy.examples()
    recipe = recipe_of(toy, training={"steps": 6, "checkpoint_every": 3, "keep_checkpoints": 9})
    train(recipe, toy.root / "whole", say=silent)
    whole, honest, reached = saved(toy.root / "whole"), checkpoint.save, threading.Event()
    waited = []

    def held_up(*arguments, **options):
        waited.append(reached.wait(60))
        return honest(*arguments, **options)

    def listen(line):
        if line.startswith("step 5/"):
            reached.set()

    monkeypatch.setattr(checkpoint, "save", held_up)
    train(recipe, toy.root / "held", say=listen)
    assert waited == [True, True]
    assert whole.keys() == {3, 6} and saved(toy.root / "held") == whole
    with pytest.raises(UsageError, match="no evaluation yet"):
        load_run(toy.root / "held", which="best")


def test_save_that_fails_ends_the_run_at_the_next_step(toy, monkeypatch):
    toy.examples()
    recipe = recipe_of(toy, training={"steps": 6, "checkpoint_every": 1})
    honest, failed = checkpoint.save, threading.Event()

    def full(directory, state, **options):
        if state.progressed.step == 2:
            failed.set()
            raise LimbeckError("step-00000002.safetensors: could not be written: disk full")
        return honest(directory, state, **options)

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(LimbeckError, match="disk full"):
        train(recipe, toy.root / "run", say=silent)
    assert saved(toy.root / "run").keys() == {1}
    monkeypatch.undo()
    said = []
    train(recipe, toy.root / "run", say=said.append)
    assert any("resumed   after step 1" in line for line in said)


class Stop(Exception):
    pass


def test_best_is_kept_survives_an_interruption_and_can_be_opened(toy, monkeypatch):
    toy.examples()
    toy.examples("heldout", num_rows=9, seed=9, page=1000)
    recipe = recipe_of(
        toy,
        data={"heldout": str(toy.root / "heldout")},
        training={
            "steps": 8,
            "checkpoint_every": 4,
            "evaluate_every": 2,
            "keep_checkpoints": 1,
            "keep_best": True,
        },
    )
    values, steps, honest = {2: 5.0, 4: 4.0, 6: 3.0, 8: 3.5}, [], Evaluator.scores

    def listen(line):
        if line.startswith("step "):
            steps.append(int(line[5 : line.index("/")]))

    def scores(self):
        found = honest(self)
        chosen = {**found.values, "cross_entropy": values[steps[-1]]}
        return dataclasses.replace(found, values=chosen)

    monkeypatch.setattr(Evaluator, "scores", scores)
    train(recipe, toy.root / "run", say=listen)
    whole = saved(toy.root / "run")
    assert whole.keys() == {6, 8}
    newest = checkpoint.load_newest(toy.root / "run" / "checkpoints")
    best = newest.progressed.best
    assert (best.metric, best.value, best.step) == ("cross_entropy", 3.0, 6)

    def die_after_seven(line):
        listen(line)
        if line.startswith("step 7/"):
            raise Stop

    with pytest.raises(Stop):
        train(recipe, toy.root / "cut", say=die_after_seven)
    assert saved(toy.root / "cut").keys() == {6}
    train(recipe, toy.root / "cut", say=listen)
    assert saved(toy.root / "cut") == whole

    _, loaded, model = load_run(toy.root / "run", which="best")
    assert loaded.progressed.step == 6
    for name, variable in named_variables(model).items():
        np.testing.assert_array_equal(variable, loaded.tensors[f"model/{name}"])
    assert open_model(str(toy.root / "run"), best=True).title.endswith("after step 6")
