"""Options of `train evaluate`, and which layers are held against which families."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError, yaml_file
from limbeck.records.dataset import open_dataset
from train.asked import EvaluateOptions, asked_of
from train.evaluate import Scores
from train.evaluate_command import _comparison, _lines, _plain, _projection, _Subject
from train.families import open_family
from train.given import check_evaluation
from train.recipe import Recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "m", "labels": "x"}, "need --examples"),
        ({"model": "m", "hidden": ("3=x",)}, "need --examples"),
        ({"model": "unigram", "fit": "x"}, "need --examples"),
        ({"model": "unigram", "examples": "x"}, "go together"),
        ({"model": "m", "fit": "x", "examples": "x"}, "go together"),
        ({"model": "unigram", "fit": "x", "examples": "x", "best": True}, "neither layers nor"),
        ({"model": "m", "examples": "x", "batch_rows": 0}, "at least 1"),
        *(
            ({"model": "m", "examples": "x", "hidden": (text,)}, "expected LAYER=DIR")
            for text in ("states", "=states", "3=", "-1=states", "a=states")
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        asked_of(EvaluateOptions(**options))


def test_hidden_families_get_names_of_their_own():
    asked = asked_of(
        EvaluateOptions(
            model="m", examples="e", labels="l", hidden=("1=a/states", "2=b/states/", "0=labels")
        )
    )
    assert asked.layers == {"states": 1, "states_2": 2, "labels_2": 0}
    assert asked.families == {
        "labels": "l",
        "states": "a/states",
        "states_2": "b/states/",
        "labels_2": "labels",
    }


def test_only_a_run_has_examples_of_its_own(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError):
        check_evaluation(asked_of(EvaluateOptions(model=str(tmp_path))))


def subject(toy, **changes):
    """A run with a projection of layer 1 from 8 to 12, the third term's."""
    settings = {
        "predictor": None,
        "title": "t",
        "vocab_size": 50,
        "hidden_dim": 8,
        "num_layers": 1,
        "recipe": yaml_file.from_plain(Recipe, toy.distil(), "recipe"),
        "widths": {2: 12},
    }
    return _Subject(**{**settings, **changes})


def test_a_layer_goes_through_the_projection_that_the_run_trained_for_it(shared_toy):
    examples = open_dataset(shared_toy.root / "examples")
    family = open_family("states", str(shared_toy.root / "states"), examples, vocab_size=50)
    run = subject(shared_toy)
    assert _comparison(family, 1, run).term == 2
    with pytest.raises(UsageError, match="12 wide and the model 8, and no projection"):
        _comparison(family, 0, run)
    with pytest.raises(UsageError, match="the model has 1 layers"):
        _comparison(family, 2, run)
    assert _comparison(family, 1, subject(shared_toy, hidden_dim=12, widths={})).term is None
    plain = shared_toy.distil()
    plain["objective"].append(dict(plain["objective"][2]))
    recipe = yaml_file.from_plain(Recipe, plain, "recipe")
    with pytest.raises(UsageError, match="several terms of the run project layer 1 to 12"):
        _comparison(family, 1, subject(shared_toy, recipe=recipe, widths={2: 12, 3: 12}))


def test_projection_from_a_checkpoint_is_that_of_training():
    rng = np.random.default_rng(0)
    states, kernel, bias = rng.normal(size=(3, 8)), rng.normal(size=(8, 12)), rng.normal(size=12)
    mapped = _projection(kernel.astype("f4"), bias.astype("f4"))(tf.constant(states, tf.float32))
    np.testing.assert_allclose(mapped, states @ kernel + bias, rtol=1e-4, atol=1e-5)  # float32


def test_scores_of_few_positions_say_so_and_scores_of_none_are_null():
    counts = {"masked": 10, "kl": 4, "x_layer1": 0}
    scores = Scores(
        accuracy=0.5, cross_entropy=2.0, kl=1.0, cosines={"x_layer1": float("nan")}, counts=counts
    )
    lines = "\n".join(_lines("model", scores))
    assert "1.0000 nats, over the 4 that the family labels" in lines
    assert _plain("model", scores)["cosines"] == {"x_layer1": None}
