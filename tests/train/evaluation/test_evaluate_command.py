"""Options of `train evaluate`, and which layers are held against which families."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.records.dataset import open_dataset
from tests.train.conftest import ARCHITECTURE
from train.evaluate import Scores
from train.evaluation.asked import EvaluateOptions, asked_of
from train.evaluation.evaluate_command import _comparison, _lines, _plain, _Subject
from train.evaluation.given import check_evaluation
from train.reading.families import open_family
from train.recipe import Recipe, StudentFacts
from train.students.run_projections import RunProjections


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


D, TEACHER_DIM = 8, 12


def run_of(plain, tensors):
    """The maps of a run of a recipe with such tensors in its checkpoint."""
    return RunProjections(
        recipe=yaml_file.from_plain(Recipe, plain, "recipe"),
        student=StudentFacts(architecture=EncoderArchitecture(**ARCHITECTURE)),
        tensors=tensors,
        where="run",
    )


def linear(name, width=TEACHER_DIM):
    """A checkpoint's tensors of a linear map."""
    rng = np.random.default_rng(len(name))
    return {
        f"projection/{name}/kernel": rng.normal(size=(D, width)).astype("f4"),
        f"projection/{name}/bias": rng.normal(size=width).astype("f4"),
    }


def subject(run, **changes):
    """What is scored: a model of one layer of width 8."""
    settings = {
        "predictor": None,
        "title": "t",
        "vocab_size": 50,
        "hidden_dim": D,
        "num_layers": 1,
        "run": run,
    }
    return _Subject(**{**settings, **changes})


@pytest.fixture
def family(shared_toy):
    """States of width 12."""
    examples = open_dataset(shared_toy.root / "examples")
    return open_family("states", str(shared_toy.root / "states"), examples, vocab_size=50)


def test_a_layer_goes_through_the_projection_that_the_run_trained_for_it(shared_toy, family):
    tensors = linear("2_hidden_mse")
    run = subject(run_of(shared_toy.distil(), tensors))
    comparison, made = _comparison(family, 1, run)
    assert comparison.term == 2
    states = np.random.default_rng(0).normal(size=(3, D)).astype("f4")
    kernel, bias = tensors.values()
    # Float32 sums of 8 products.
    np.testing.assert_allclose(made(tf.constant(states)), states @ kernel + bias, atol=1e-5)
    with pytest.raises(UsageError, match="12 wide and the model 8, and no projection"):
        _comparison(family, 0, run)
    with pytest.raises(UsageError, match="the model has 1 layers"):
        _comparison(family, 2, run)
    assert _comparison(family, 1, subject(None, hidden_dim=12))[0].term is None


def test_a_projection_to_another_width_does_not_fit(shared_toy, family):
    run = subject(run_of(shared_toy.distil(), linear("2_hidden_mse", width=5)))
    with pytest.raises(UsageError, match="no projection from this layer was trained"):
        _comparison(family, 1, run)


def test_a_projection_of_another_kind_and_a_shared_name_is_that_of_training(shared_toy, family):
    plain = shared_toy.distil()
    plain["objective"][2] |= {"projection": "linear_tanh", "projection_name": "up"}
    plain["objective"].append(dict(plain["objective"][2]))
    tensors = linear("up")
    comparison, made = _comparison(family, 1, subject(run_of(plain, tensors)))
    assert comparison.term == 2 and made.name == "up"  # two terms share it
    states = np.random.default_rng(0).normal(size=(3, D)).astype("f4")
    kernel, bias = tensors.values()
    expected = np.tanh(states @ kernel + bias)
    np.testing.assert_allclose(made(tf.constant(states)), expected, atol=1e-5)


def test_several_projections_of_a_layer_are_refused(shared_toy, family):
    plain = shared_toy.distil()
    plain["objective"].append(dict(plain["objective"][2]))
    run = run_of(plain, linear("2_hidden_mse") | linear("3_hidden_mse_2"))
    with pytest.raises(UsageError, match="several terms of the run project layer 1 to 12"):
        _comparison(family, 1, subject(run))


def test_a_checkpoint_without_the_projection_is_refused(shared_toy, family):
    with pytest.raises(UsageError, match="no projection '2_hidden_mse'"):
        _comparison(family, 1, subject(run_of(shared_toy.distil(), {})))


def test_scores_of_few_positions_say_so_and_scores_of_none_are_null():
    counts = {"masked": 10, "kl": 4, "x_layer1": 0}
    values = {"accuracy": 0.5, "cross_entropy": 2.0, "kl": 1.0, "cosine_x_layer1": float("nan")}
    scores = Scores(values=values, counts=counts)
    lines = "\n".join(_lines("model", scores))
    assert "1.0000 nats, over the 4 that the family labels" in lines
    assert _plain("model", scores)["cosines"] == {"x_layer1": None}
