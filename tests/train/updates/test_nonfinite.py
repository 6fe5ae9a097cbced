"""Gradients that are not finite, on one rank: refused with their rows, or left out and counted."""

import json

import numpy as np
import pytest

from limbeck.config import yaml_file
from limbeck.config.errors import LimbeckError
from limbeck.runs import read_metrics
from train.loop import train
from train.recipe import Recipe
from train.step import Gradients, TrainStep

pytestmark = pytest.mark.usefixtures("deterministic")


@pytest.fixture
def poisoned(monkeypatch):
    """Losses of the steps in the list, from 0, are NaN."""
    steps, honest = [], TrainStep.gradients

    def gradients(self, *arguments, step, settled):
        found = honest(self, *arguments, step=step, settled=settled)
        if step not in steps:
            return found
        return Gradients(grads=found.grads, sums=found.sums * np.float32("nan"))

    monkeypatch.setattr(TrainStep, "gradients", gradients)
    return steps


def recipe_of(toy, **training):
    return yaml_file.from_plain(Recipe, toy.recipe(training=training), "recipe")


def test_one_is_refused_by_default_with_the_keys_of_its_batch(toy, poisoned):
    toy.examples()
    poisoned.append(1)
    with pytest.raises(LimbeckError) as caught:
        train(recipe_of(toy), toy.root / "run", say=lambda line: None)
    (line,) = map(json.loads, (toy.root / "run/nonfinite.jsonl").read_text().splitlines())
    assert (line["step"], line["position"], line["ranks"][0]["terms"]) == (2, 7, ["mlm"])
    keys = line["ranks"][0]["keys"]
    assert len(keys) == len(line["ranks"][0]["rows"]) == 7
    for words in (
        "step 2: the loss of mlm is not finite",
        f"at position 7, keys {', '.join(keys[:3])} and 4 more",
        str(toy.root / "run/nonfinite.jsonl"),
        "training.max_skipped_steps",
    ):
        assert words in str(caught.value)


def test_some_in_a_row_are_left_out_and_the_count_survives_a_resume(toy, poisoned):
    toy.examples()
    poisoned.extend([1, 2, 4])
    said = []
    recipe = recipe_of(toy, max_skipped_steps=2, steps=6, checkpoint_every=2)
    result = train(recipe, toy.root / "run", say=said.append)
    assert result.finished
    assert [text.rsplit(";", 1)[1] for text in said if "not finite" in text] == [
        " skipped, 1 in a row of at most 2",
        " skipped, 2 in a row of at most 2",
        " skipped, 1 in a row of at most 2",
    ]
    assert any(text.startswith("step 6/6") and text.endswith("skipped 3") for text in said)
    metrics = [m for m in read_metrics(toy.root / "run/metrics.jsonl") if "train/loss" in m]
    assert [m["train/skipped"] for m in metrics] == [0, 1, 2, 2, 3, 3]
    assert [m["train/loss"] == "nan" for m in metrics] == [False, True, True, False, True, False]

    # Ended after step 2, inside the row of two, the run goes on to the same bytes.
    class Stop(Exception):
        pass

    def die_at_three(text):
        if text.startswith("step 3/"):
            raise Stop

    with pytest.raises(Stop):
        train(recipe, toy.root / "cut", say=die_at_three)
    train(recipe, toy.root / "cut", say=lambda line: None)
    whole, cut = (
        sorted((toy.root / name / "checkpoints").iterdir())[-1].read_bytes()
        for name in ("run", "cut")
    )
    assert whole == cut
