"""Terms at some positions of a family of all tokens: what the same term gives on these alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError, yaml_file
from limbeck.labels import codecs
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from limbeck.runs import RunDirectory
from tests.train.students.test_student_plan import DECODER
from train.formula import Given
from train.inputs import open_inputs
from train.job import build_job
from train.loop import train
from train.objective import Outputs, bind
from train.recipe import Recipe
from train.updates.advance import prepare_batch

V, D = 50, 12
SIGNALS = {
    "top": SparseSignal(k=6, temperatures=(1.0, 2.0)),
    "full": FinalSignal(codec="float32"),
    "states": HiddenSignal(layer=2, codec="float32"),
}
FLSW = {"schedule": "flsw", "temperature": 4, "beta": 2}
MAP = {"student_layer": 1, "projection": "linear", "projection_name": "map"}

TERMS = {
    "kl of a head": {"loss": "kl", "signal": "top", "temperature": 2.0},
    "kl": {"loss": "kl", "signal": "full", "temperature": 3.0},
    "soft_ce": {"loss": "soft_ce", "signal": "full"},
    "logit_mse": {"loss": "logit_mse", "signal": "full"},
    "hidden_mse": {"loss": "hidden_mse", "signal": "states", **MAP},
    "temperatures of the batch": {"loss": "kl", "signal": "full", "temperature": FLSW},
}


@pytest.fixture(scope="module")
def toy(shared_toy):
    """Each signal at all tokens, and the same entries at the masked and at the first alone."""
    dataset = open_dataset(shared_toy.root / "examples")
    rows = dataset.read(np.arange(dataset.num_rows))
    tokens = rows["num_tokens"].astype(np.int64)
    starts = np.cumsum(tokens) - tokens
    slot = np.arange(rows["mask_positions"].shape[1]) < rows["num_masked"][:, None]
    places = {
        "all": np.arange(tokens.sum()),
        "masked": (starts[:, None] + rows["mask_positions"])[slot],
        "first": starts,
    }
    rng = np.random.default_rng(0)
    states = rng.normal(size=(tokens.sum(), D)).astype(np.float32)
    side = {"decoder/kernel": rng.normal(size=(V, D)).astype(np.float32)}
    side["decoder/bias"] = rng.normal(size=V).astype(np.float32)
    logits = states @ side["decoder/kernel"].T + side["decoder/bias"]
    for name, signal in SIGNALS.items():
        raw = {"logits": logits} if name == "top" else {"states": states}
        for positions, kept in places.items():
            own = dataclasses.replace(signal, positions=positions)
            part = {field: values[kept] for field, values in raw.items()}
            fitted = Fitted(signal=own)
            if name == "full":
                fitted, _ = codecs.fit(own, part, side=Side(tensors=side))
            true_ids = np.zeros(len(kept), np.int32) if positions == "masked" else None
            shared_toy._labels(
                dataset, f"{name}-{positions}", fitted, part, rows, V, None, true_ids
            )
    return shared_toy


def recipe_of(toy, objective, *, labels=None, **changes):
    """Families go by their directory's name."""
    names = {term["signal"] for term in objective if "signal" in term}
    labels = labels or {name: str(toy.root / name) for name in sorted(names)}
    data = {"examples": str(toy.root / "examples"), "labels": labels}
    plain = toy.recipe(objective=objective, data=data, **changes)
    return yaml_file.from_plain(Recipe, plain, "recipe")


def at(term, positions, *, of):
    """The term on the family at the positions `of`, looking at `positions` of these."""
    return {**term, "signal": f"{term['signal']}-{of}", "positions": positions}


def gradients_of(toy, objective, run, **training):
    """Counts, sums and gradients of the first global batch, in micro-batches of 3 rows."""
    settings = {"global_batch": 7, "micro_batch": 3, **training}
    run = RunDirectory(run)
    run.take({})
    recipe = recipe_of(toy, objective, training=settings)
    job = build_job(open_inputs(recipe), run, World())
    batch = prepare_batch(job.source.read(job.source.global_rows(0)))
    counts = job.objective.counts(batch.items)
    settled = job.step.settle(batch.micro, counts, step=0)
    found = job.step.gradients(batch.micro, job.objective.factors(counts), step=0, settled=settled)
    return counts, found.sums.numpy(), [gradient.numpy() for gradient in found.grads], batch


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    largest = max(float(np.abs(g).max()) for g in expected[2])
    assert largest > 0
    for ours, theirs in zip(found[2], expected[2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize("positions", ["masked", "first"])
def test_part_of_a_family_teaches_what_a_family_of_these_positions_does(
    toy, positions, tmp_path, deterministic
):
    terms = list(TERMS.values())
    part = gradients_of(toy, [at(t, positions, of="all") for t in terms], tmp_path / "part")
    alone = gradients_of(toy, [at(t, "labelled", of=positions) for t in terms], tmp_path / "alone")
    assert_same(part, alone)
    micro = part[3].micro
    entries = [int(m["items"][positions]["valid"].numpy().sum()) for m in micro]
    assert len(micro) == 3 and len(set(entries)) > 1 and (part[0] == sum(entries)).all()


def test_positions_of_one_family_and_all_of_it_stand_beside_each_other(
    toy, tmp_path, deterministic
):
    terms = [TERMS["kl"], TERMS["hidden_mse"]]
    mixed = [at(t, positions, of="all") for positions in ("masked", "labelled") for t in terms]
    found = gradients_of(toy, mixed, tmp_path / "mixed")
    masked = gradients_of(toy, [at(t, "labelled", of="masked") for t in terms], tmp_path / "masked")
    every = gradients_of(toy, [at(t, "labelled", of="all") for t in terms], tmp_path / "all")
    np.testing.assert_array_equal(found[0], [*masked[0], *every[0]])
    np.testing.assert_allclose(found[1], [*masked[1], *every[1]], rtol=1e-6)


def test_shift_at_masked_positions_of_all_looks_at_their_true_ids(toy, tmp_path, deterministic):
    term = {**TERMS["soft_ce"], "probability_shift": True}
    part = gradients_of(toy, [at(term, "masked", of="all")], tmp_path / "part")
    alone = gradients_of(toy, [at(term, "labelled", of="masked")], tmp_path / "alone")
    assert_same(part, alone)
    plain = gradients_of(toy, [at(TERMS["soft_ce"], "masked", of="all")], tmp_path / "plain")
    assert abs(plain[1] - part[1]) > 1e-3


@pytest.mark.parametrize("micro_batch", [1, 2, 7])
def test_any_cut_into_micro_batches_gives_the_same(toy, micro_batch, tmp_path, deterministic):
    terms = [at(TERMS["kl of a head"], "masked", of="all"), at(TERMS["kl"], "first", of="all")]
    found = gradients_of(toy, terms, tmp_path / "found", micro_batch=micro_batch)
    whole = gradients_of(toy, terms, tmp_path / "whole")
    np.testing.assert_array_equal(found[0], whole[0])
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-5)
    largest = max(float(np.abs(g).max()) for g in whole[2])
    for ours, theirs in zip(found[2], whole[2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * largest)


def test_run_at_masked_positions_finishes(toy, tmp_path, deterministic):
    objective = [at(TERMS[name], "masked", of="all") for name in ("kl of a head", "hidden_mse")]
    result = train(recipe_of(toy, objective), tmp_path / "run", say=lambda line: None)
    assert result.finished and np.isfinite(result.loss)


@pytest.mark.parametrize(
    ("term", "of", "positions", "message"),
    [
        ("kl", "masked", "masked", "positions is masked, and 'full-masked' labels just these"),
        ("kl", "masked", "first", "positions is first, but 'full-masked' is final at positions m"),
        ("kl", "first", "masked", "positions is masked, but 'full-first' is final at positions f"),
        ("hidden_mse", "masked", "masked", "positions is masked, and 'states-masked' labels just"),
        ("hidden_mse", "masked", "first", "positions is first, but 'states-masked' labels masked"),
        ("hidden_mse", "first", "masked", "positions is masked, but 'states-first' is hidden at"),
    ],
)
def test_family_that_lacks_these_positions_is_refused(toy, term, of, positions, message):
    with pytest.raises(UsageError, match=rf"objective\[0\]\.{message}"):
        open_inputs(recipe_of(toy, [at(TERMS[term], positions, of=of)]))


def test_family_that_labels_some_rows_only_is_refused(toy):
    toy.hidden(toy.root / "examples", "some-all", records=0.5)
    term = {**TERMS["hidden_mse"], "signal": "some"}
    with pytest.raises(UsageError, match="positions is masked, but 'some-all' labels some rows"):
        open_inputs(recipe_of(toy, [at(term, "masked", of="all")]))


def test_causal_student_is_not_compared_at_masked_positions(toy):
    recipe = recipe_of(
        toy,
        [at(TERMS["kl"], "masked", of="all")],
        model={"architecture": None, "decoder": DECODER, "head": "causal_lm"},
    )
    with pytest.raises(
        UsageError, match=r"objective\[0\].signal: 'full-all' is compared at masked"
    ):
        open_inputs(recipe)


@pytest.fixture(scope="module")
def unmasked(toy):
    """The toy with unmasked examples, and a family of all their tokens."""
    examples = toy.examples("plain", masked=False)
    toy.hidden(examples, "plain-all")
    return toy


OF_PLAIN = {**TERMS["hidden_mse"], "signal": "plain-all"}


def plain_recipe(toy, objective, **more):
    labels = {"plain-all": str(toy.root / "plain-all")}
    data = {"examples": str(toy.root / "plain"), "labels": labels, **more}
    return yaml_file.from_plain(Recipe, toy.recipe(objective=objective, data=data), "recipe")


def test_masked_positions_of_examples_without_any_are_refused(unmasked):
    with pytest.raises(UsageError, match="plain: these examples have no masked positions"):
        open_inputs(plain_recipe(unmasked, [{**OF_PLAIN, "positions": "masked"}]))
    open_inputs(plain_recipe(unmasked, [{**OF_PLAIN, "positions": "first"}]))


def test_masks_made_while_training_choose_the_positions(unmasked, tmp_path, deterministic):
    masking = {"tokenizer": str(unmasked.tokenizer()), "rate": 0.3}
    objective = [{**OF_PLAIN, "positions": "masked"}, OF_PLAIN, {"loss": "mlm"}]
    recipe = plain_recipe(unmasked, objective, masking=masking)
    inputs = open_inputs(recipe)
    bound = bind(recipe.objective, inputs.families, inputs.student)
    source = inputs.source(World(), bound.lists)
    (micro,) = source.read(source.global_rows(0)).micro
    micro = tf.nest.map_structure(tf.constant, micro)
    masked, every, _ = (Given(bound=b, outputs=Outputs(), batch=micro) for b in bound.terms)
    assert 0 < np.sum(masked.valid) < np.sum(every.valid)
    on_grid = every.on_grid(every.teacher()["states"]).numpy().reshape(-1, D)
    expected = on_grid[masked.items["index"].numpy()[masked.valid]]
    np.testing.assert_array_equal(masked.teacher()["states"].numpy()[masked.valid], expected)
    assert train(recipe, tmp_path / "run", say=lambda line: None).finished
