"""Whole runs from terms on logits, and from a loss of one's own."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf

from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config import UsageError, yaml_file
from limbeck.labels import codecs, sparse
from limbeck.labels.side import Side
from limbeck.labels.signals import FinalSignal, SparseSignal, to_dict
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from limbeck.runs import read_metrics
from tests.train.live_teacher import SEED, write_teacher
from train import formula
from train.formula import Given
from train.inputs import open_inputs
from train.loop import train
from train.losses import kl_values
from train.metrics.measures import KLMeasure
from train.objective import Outputs, bind
from train.recipe import DistributionTerm, HiddenTerm, Recipe, make_term, register, term
from train.starting.approximation import approximation_lines

V, D = 50, 12

FLSW = {"schedule": "flsw", "temperature": 4, "beta": 2}
CWSM = {"schedule": "cwsm", "temperature": 1.5, "beta": 1, "floor": 1, "ceiling": 2}

RUNS = {
    "several teachers": [
        {"loss": "kl", "signals": ["a", "b"], "combine": "probabilities", "temperature": 2},
        {"loss": "logit_mse", "signals": ["a", "b"], "teacher_weights": [1, 2]},
    ],
    "schedules": [
        {"loss": "soft_ce", "signal": "a", "temperature": FLSW, "probability_shift": True},
        {"loss": "kl", "signal": "top", "temperature": CWSM, "approximate_temperature": True},
    ],
    "between": [
        {"loss": "kl", "signal": "top", "temperature": 1.3, "approximate_temperature": True}
    ],
}


@pytest.fixture(scope="module")
def toy(shared_toy):
    """With final families of two teachers."""
    dataset = open_dataset(shared_toy.root / "examples")
    rows = dataset.read(np.arange(dataset.num_rows))
    for seed, name in enumerate(("a", "b")):
        rng = np.random.default_rng(seed)
        raw = {"states": rng.normal(size=(int(rows["num_masked"].sum()), D)).astype(np.float32)}
        side = {
            "decoder/kernel": rng.normal(size=(V, D)).astype(np.float32),
            "decoder/bias": np.zeros(V, np.float32),
        }
        fitted, _ = codecs.fit(FinalSignal(codec="float32"), raw, side=Side(tensors=side))
        shared_toy._labels(dataset, name, fitted, raw, rows, V, None, None)
    return shared_toy


def recipe_of(toy, objective):
    names = {n for t in objective for n in [t.get("signal"), *t.get("signals", ())] if n}
    labels = {name: str(toy.root / name) for name in sorted(names)}
    data = {"examples": str(toy.root / "examples"), "labels": labels}
    return yaml_file.from_plain(Recipe, toy.recipe(objective=objective, data=data), "recipe")


@pytest.mark.parametrize("name", RUNS)
def test_objective_trains(toy, name, tmp_path, deterministic):
    lines = []
    result = train(recipe_of(toy, RUNS[name]), tmp_path / "run", say=lines.append)
    assert result.finished and np.isfinite(result.loss)


@pytest.mark.ranks(2)
@pytest.mark.slow
def test_temperatures_of_the_global_batch_on_two_ranks_are_those_of_one(toy, mpirun, deterministic):
    """Their statistics are gathered over ranks: each half of a batch alone would give others."""
    plain = yaml_file.to_plain(recipe_of(toy, RUNS["schedules"]))
    plain["training"]["steps"] = 3
    path, root = toy.write(plain, "temperatures.yaml"), toy.root
    mpirun(2, ["-m", "train", "run", str(path), "--run-dir", str(root / "two")], timeout_s=300)
    train(yaml_file.load(path, Recipe), root / "one", say=lambda line: None)
    one, two = (
        [
            [value for key, value in sorted(line.items()) if key.startswith("train/loss")]
            for line in read_metrics(root / name / "metrics.jsonl")
            if "train/loss" in line
        ]
        for name in ("one", "two")
    )
    assert np.shape(one) == (3, 3)
    # As in test_state_terms: Adam lets rounding grow over the steps.
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_plan_tells_the_measured_error_of_interpolated_temperatures(toy):
    inputs = open_inputs(recipe_of(toy, RUNS["between"]))
    (line,) = approximation_lines(inputs.recipe.objective, inputs.families, vocab_size=V)
    assert line.startswith("between   temperatures of top between 1, 2 are interpolated")
    assert "at 2" in line and "(mean " in line
    exact = open_inputs(recipe_of(toy, [{"loss": "kl", "signal": "top"}]))
    assert approximation_lines(exact.recipe.objective, exact.families, vocab_size=V) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 3}, r"objective\[0\].temperature 3 is not in the grid of 'top'"),
        ({"missing_mass": "bucket", "signal": "a"}, r"objective\[0\].*missing_mass has no effect"),
        ({"signals": ["a", "top"], "signal": None}, r"objective\[0\].*'top' is sparse"),
    ],
)
def test_mistakes_are_found_when_the_inputs_are_opened(toy, change, message):
    block = {"loss": "kl", "signal": "top", **change}
    objective = [{name: value for name, value in block.items() if value is not None}]
    with pytest.raises(UsageError, match=message):
        open_inputs(recipe_of(toy, objective))


DRAWN = SparseSignal(threshold=0.1, sample=True, temperatures=(1.0, 2.0))
SAMPLED = [
    {"loss": "soft_ce", "signal": "drawn", "temperature": tau, "missing_mass": "sampled"}
    for tau in (1.0, 2.0)
]


@pytest.fixture(scope="module")
def sampled(toy):
    """With a family that has a grid and a sample; (toy, teacher folder)."""
    folder = write_teacher(toy.root / "teacher", toy.tokenizer())
    settings = ExtractSettings(
        families={"drawn": DRAWN},
        examples=str(toy.root / "examples"),
        teacher=folder,
        out=str(toy.root / "extracted"),
        seed=SEED,
        threads=0,
    )
    extract(settings, say=lambda line: None)
    return toy, folder


def sampled_recipe(toy, objective, **more):
    labels = {"drawn": str(toy.root / "extracted" / "drawn")}
    data = {"examples": str(toy.root / "examples"), "labels": labels, **more}
    return toy.recipe(objective=objective, data=data)


def test_run_learns_from_the_sample_of_a_grid_at_two_temperatures(sampled, inside, tmp_path):
    toy, _ = sampled
    heldout = {"heldout": str(toy.root / "examples")}
    heldout["heldout_labels"] = {"drawn": str(toy.root / "extracted" / "drawn")}
    plain = sampled_recipe(toy, SAMPLED, **heldout)
    done = inside("run", toy.write(plain, "sampled.yaml"), "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    found = {}
    for line in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        found |= line
    names = ("train/loss_soft_ce", "train/loss_soft_ce_2", "eval/kl")
    assert all(0 < found[name] < 10 for name in names)


def test_sample_that_a_term_passes_over_without_a_word_is_refused(sampled, inside, tmp_path):
    toy, _ = sampled
    plain = sampled_recipe(toy, [{"loss": "kl", "signal": "drawn"}])
    done = inside("run", toy.write(plain, "silent.yaml"), "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert "objective[0].missing_mass must be given: 'drawn' has a sample" in done.stderr
    said = sampled_recipe(toy, [{"loss": "kl", "signal": "drawn", "missing_mass": "bucket"}])
    open_inputs(yaml_file.from_plain(Recipe, said, "recipe"))


def test_heldout_kl_is_that_of_the_head_and_its_bucket(sampled):
    """Whatever the terms of the run learn from."""
    toy, _ = sampled
    inputs = open_inputs(yaml_file.from_plain(Recipe, sampled_recipe(toy, SAMPLED), "recipe"))
    family = inputs.families["drawn"]
    own = family.dataset.read(np.arange(family.dataset.num_rows))
    fields = family.arrays(own).fields
    stored = sparse.decode(family.fitted, codecs.from_records(family.fitted, own)[0])
    num_entries = len(stored.ids)
    logits = np.random.default_rng(0).normal(size=(num_entries, V)).astype(np.float32)
    index = np.zeros(num_entries, np.int32)
    items = {"masked": {"index": index, "valid": np.ones(num_entries, bool)}}
    batch = {"items": items, "teacher": {"drawn": fields}}
    outputs = Outputs(logits={"masked": tf.constant(logits)})
    count, total = KLMeasure(family).sums(outputs, tf.nest.map_structure(tf.constant, batch))
    expected = kl_values(logits, stored.ids, stored.logits, stored.log_tail[:, 0], temperature=1.0)
    assert count == num_entries
    np.testing.assert_allclose(total, np.sum(expected), rtol=1e-5)


def test_live_teacher_gives_the_sample_that_is_stored(sampled):
    toy, folder = sampled
    plain = sampled_recipe(toy, SAMPLED)
    data = {"examples": plain["data"]["examples"]}
    data["teacher"] = {"path": folder, "signals": {"drawn": to_dict(DRAWN)}}
    batches = {}
    for name, recipe in (("store", plain), ("live", {**plain, "data": data})):
        inputs = open_inputs(yaml_file.from_plain(Recipe, recipe, "recipe"))
        lists = bind(inputs.recipe.objective, inputs.families, inputs.student).lists
        source = inputs.source(World(), lists)
        (batches[name],) = source.read(source.global_rows(0)).micro
    live, store = (batches[name]["teacher"]["drawn"] for name in ("live", "store"))
    assert store["weights"].shape[1:] == (DRAWN.max_entries, 2) and (store["weights"] > 0).any()
    np.testing.assert_array_equal(live["ids"], store["ids"])
    # The teacher's answers differ in last bits, and so may what fp16 rounds them to.
    np.testing.assert_allclose(live["weights"], store["weights"], rtol=3e-3)


@pytest.fixture
def registry(monkeypatch):
    """Copies: what a test registers is gone after it."""
    monkeypatch.setattr(term, "_registered", dict(term._registered))
    monkeypatch.setattr(formula, "_formulas", dict(formula._formulas))


@pytest.fixture
def huber(registry):
    """The loss of docs/objectives.md."""

    @register
    @dataclass(frozen=True, kw_only=True)
    class HuberTerm(HiddenTerm):
        loss: Literal["huber"] = "huber"
        delta: float = 1.0

    @formula.formula(HuberTerm)
    def huber(given: Given) -> tf.Tensor:
        distance = tf.abs(given.student_states() - given.teacher_states())
        near = tf.minimum(distance, given.term.delta)
        return tf.reduce_mean(0.5 * near**2 + given.term.delta * (distance - near), axis=-1)


HUBER = {
    "loss": "huber",
    "signal": "states",
    "student_layer": 1,
    "projection": "linear",
    "delta": 0.5,
}


def test_loss_of_ones_own_trains(toy, huber, tmp_path, deterministic):
    result = train(recipe_of(toy, [HUBER]), tmp_path / "run", say=lambda line: None)
    assert result.finished and 0 < result.loss < 10


def test_loss_of_ones_own_inherits_the_checks_of_its_parent(toy, huber):
    with pytest.raises(UsageError, match=r"objective\[0\].student_layer is 9"):
        open_inputs(recipe_of(toy, [{**HUBER, "student_layer": 9}]))
    with pytest.raises(UsageError, match="unknown key 'delt'.*did you mean 'delta'"):
        recipe_of(toy, [{**HUBER, "delt": 1.0}])


def test_loss_that_nobody_registered_is_refused_with_those_that_are_there(toy):
    with pytest.raises(UsageError, match="huber.*expected one of .*'kl'.*'logit_mse'"):
        recipe_of(toy, [HUBER])
    with pytest.raises(ValueError, match="loss 'huber' is none of"):
        make_term(loss="huber")


def test_term_whose_formula_does_not_fit_is_refused_when_the_inputs_are_opened(toy, registry):
    @register
    @dataclass(frozen=True, kw_only=True)
    class OwnTerm(DistributionTerm):
        loss: Literal["own"] = "own"

    formula.formula(OwnTerm)(lambda given: given.logits()[:, 0])
    recipe = recipe_of(toy, [{"loss": "own", "signal": "a", "temperature": dict(FLSW)}])
    message = r"objective\[0\].loss: loss own: its reach is batch, but the formula tied to"
    with pytest.raises(UsageError, match=message):
        open_inputs(recipe)
