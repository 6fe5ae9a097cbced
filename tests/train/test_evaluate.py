"""Scores against slow oracles: row by row, unpadded, in NumPy."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.labels import codecs, sparse
from limbeck.labels.final import full_logits
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import FinalSignal, RelationsSignal, SparseSignal
from limbeck.models import build_masked_lm
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from limbeck.runs import metric
from train import evaluate
from train.evaluate import Evaluator, ModelPredictor
from train.evaluation.heldout import Comparison, check_distribution, distribution_of
from train.evaluation.unigram import Unigram
from train.inputs import open_inputs
from train.reading.families import open_family
from train.recipe import Recipe, StudentFacts

V, D, TEACHER_DIM = 50, 8, 12


@pytest.fixture(scope="module")
def toy_with_families(shared_toy):
    """Adds families of every kind that an evaluation reads."""
    examples = shared_toy.root / "examples"
    shared_toy.sparse(examples, "some", records=0.5)
    shared_toy.hidden(examples, "narrow", dim=D, records=0.5)
    shared_toy.hidden(examples, "first", positions="first", dim=D)
    final_family(shared_toy, examples, "final")
    ragged_family(shared_toy, examples, "ragged")
    return shared_toy


def final_family(toy, examples, name):
    """Random states and decoder."""
    dataset = open_dataset(examples)
    rows = dataset.read(np.arange(dataset.num_rows))
    rng = np.random.default_rng(11)
    raw = {"states": rng.normal(size=(int(rows["num_masked"].sum()), TEACHER_DIM)).astype("f4")}
    decoder = {"decoder/kernel": rng.normal(size=(V, TEACHER_DIM)).astype("f4") / 2}
    decoder["decoder/bias"] = rng.normal(size=V).astype("f4")
    fitted, _ = codecs.fit(FinalSignal(codec="bfloat16"), raw, side=Side(tensors=decoder))
    return toy._labels(dataset, name, fitted, raw, rows, V, None, None)


def ragged_family(toy, examples, name):
    """All ids of a probability: heads of unlike lengths."""
    dataset = open_dataset(examples)
    rows = dataset.read(np.arange(dataset.num_rows))
    true = rows["mask_ids"][np.arange(4) < rows["num_masked"][:, None]].astype(np.int32)
    logits = np.random.default_rng(12).normal(size=(len(true), V)).astype("f4") * 2
    fitted, _ = codecs.fit(
        SparseSignal(threshold=0.05, temperatures=(1.0,)), {"logits": logits}, side=Side()
    )
    return toy._labels(dataset, name, fitted, {"logits": logits}, rows, V, None, true)


@pytest.fixture(scope="module")
def heldout(shared_toy):
    return open_dataset(shared_toy.root / "examples")


@pytest.fixture(scope="module")
def model():
    shape = EncoderArchitecture(
        vocab_size=V,
        num_layers=1,
        hidden_dim=D,
        num_heads=2,
        intermediate_dim=8,
        max_positions=16,
        initializer_range=0.5,
    )
    return build_masked_lm(shape, seed=1)


def opened(toy, heldout, *names):
    return {name: open_family(name, str(toy.root / name), heldout, vocab_size=V) for name in names}


def masked(dataset):
    """Row, position and true id of every masked position, the slow way."""
    rows = dataset.read(np.arange(dataset.num_rows))
    for row in range(dataset.num_rows):
        for slot in range(int(rows["num_masked"][row])):
            place, true = rows["mask_positions"][row, slot], rows["mask_ids"][row, slot]
            yield row, slot, int(place), int(true)


@functools.cache
def states_of(model, dataset, row, layer=None):
    """The layer's states (tokens, D) of one row; the last layer's where `layer` is None."""
    rows = dataset.read(np.array([row]))
    n, split = int(rows["num_tokens"][0]), int(rows["segment_split"][0])
    ids = tf.constant(rows["ids"][:, :n].astype(np.int32))
    segments = tf.constant([[0] * split + [1] * (n - split)])
    layers = () if layer is None else (layer,)
    encoded = model.encode(ids, segments, tf.ones_like(ids), hidden_layers=layers)
    return encoded.last if layer is None else encoded.hidden[layer].numpy()[0]


def log_softmax(z):
    return z - np.logaddexp.reduce(z)


@functools.cache
def logits_of(model, dataset, row):
    """(tokens, V) float64."""
    last = states_of(model, dataset, row)
    places = tf.range(last.shape[1])[None]
    return model.logits_at(last, places)[0].numpy().astype(np.float64)


def log_q_of(model, dataset, row, place):
    return log_softmax(logits_of(model, dataset, row)[place])


def oracle(model, dataset, family):
    """Scores row by row, unpadded, in NumPy."""
    labels = family.dataset.read(np.arange(family.dataset.num_rows))
    own = family.dataset.find(np.arange(dataset.num_rows))
    right, cross_entropy, kl = [], [], []
    for row, slot, place, true in masked(dataset):
        log_q = log_q_of(model, dataset, row, place)
        right.append(int(np.argmax(log_q)) == true)
        cross_entropy.append(-log_q[true])
        if own[row] < 0:
            continue
        stored = {k: labels[k][own[row], slot][None] for k in ("ids", "logits", "log_tail")}
        decoded = sparse.decode(family.fitted, stored)
        log_p = sparse.target(decoded, temperature=1.0)[0].astype(np.float64)
        head = log_q[decoded.ids[0]]
        rest = np.logaddexp.reduce(np.delete(log_q, decoded.ids[0]))
        kl.append(np.sum(np.exp(log_p) * (log_p - np.append(head, rest))))
    return len(right), np.mean(right), np.mean(cross_entropy), np.mean(kl), len(kl)


@pytest.mark.parametrize("name", ["top", "some"])  # the second labels half of the rows
def test_scores_are_those_of_a_slow_oracle_for_any_batch_size(
    toy_with_families, heldout, model, name
):
    families = opened(toy_with_families, heldout, name)
    positions, accuracy, cross_entropy, kl, labelled = oracle(model, heldout, families[name])
    assert (labelled < positions) == (name == "some")
    for batch_rows in (1000, 7):
        scores = Evaluator(
            ModelPredictor(model), heldout, vocab_size=V, families=families, batch_rows=batch_rows
        ).scores()
        assert (scores.positions, scores.counts["kl"]) == (positions, labelled)
        assert scores.accuracy == pytest.approx(accuracy)
        # Means of a hundred float32 values.
        assert scores.cross_entropy == pytest.approx(cross_entropy, rel=1e-5)
        assert scores.kl == pytest.approx(kl, rel=1e-5)


def test_final_family_gives_the_kl_over_the_whole_vocabulary(toy_with_families, heldout, model):
    families = opened(toy_with_families, heldout, "final")
    family = families["final"]
    labels = family.dataset.read(np.arange(heldout.num_rows))
    arrays, _ = codecs.from_records(family.fitted, labels)
    teacher = full_logits(codecs.decode(family.fitted, arrays)["states"], family.fitted.tensors)
    expected = []
    for (row, _, place, _), z in zip(masked(heldout), teacher.astype(np.float64), strict=True):
        log_p, log_q = log_softmax(z), log_q_of(model, heldout, row, place)
        expected.append(np.sum(np.exp(log_p) * (log_p - log_q)))
    scores = Evaluator(ModelPredictor(model), heldout, vocab_size=V, families=families).scores()
    assert scores.kl == pytest.approx(np.mean(expected), rel=1e-5)


def test_family_with_heads_of_unlike_lengths_gives_a_kl(toy_with_families, heldout, model):
    families = opened(toy_with_families, heldout, "ragged")
    whole, parts = (
        Evaluator(
            ModelPredictor(model), heldout, vocab_size=V, families=families, batch_rows=rows
        ).scores()
        for rows in (40, 3)
    )
    assert 0 < whole.kl == pytest.approx(parts.kl, rel=1e-6)


def test_cosines_are_those_of_a_slow_oracle(toy_with_families, heldout, model):
    families = opened(toy_with_families, heldout, "narrow", "first", "states")
    kernel = np.random.default_rng(5).normal(size=(D, TEACHER_DIM)).astype(np.float32)
    cases = {
        "narrow_layer1": ("narrow", 1, lambda x: x),
        "first_layer0": ("first", 0, lambda x: x),
        "states_layer1": ("states", 1, lambda x: x @ kernel),
    }
    comparisons = [Comparison(name=n, family=f, layer=i) for n, (f, i, _) in cases.items()]
    scores = Evaluator(
        ModelPredictor(model),
        heldout,
        vocab_size=V,
        families=families,
        comparisons=comparisons,
        projections={"states_layer1": lambda x: tf.matmul(x, tf.constant(kernel))},
        batch_rows=9,
    ).scores()
    for name, (family_name, layer, mapped) in cases.items():
        family = families[family_name]
        own = family.dataset.find(np.arange(heldout.num_rows))
        expected = []
        for row in np.flatnonzero(own >= 0).tolist():
            fields = family.dataset.read(own[row : row + 1])
            arrays, _ = codecs.from_records(family.fitted, fields)
            teacher = codecs.decode(family.fitted, arrays)["states"].astype(np.float64)
            student = mapped(states_of(model, heldout, row, layer)[: len(teacher)])
            norms = np.linalg.norm(student, axis=-1) * np.linalg.norm(teacher, axis=-1)
            expected += ((student * teacher).sum(-1) / norms).tolist()
        assert scores.counts[name] == len(expected)
        assert scores.cosines[name] == pytest.approx(np.mean(expected), abs=1e-6)  # float32
    assert scores.kl is None and "kl" not in scores.counts


def test_ranks_share_the_rows_and_add_up(toy_with_families, heldout, model, monkeypatch):
    families = opened(toy_with_families, heldout, "some")
    collected = []
    monkeypatch.setattr(evaluate.ranks, "sum_vector", lambda v, name: collected.append(v) or v)

    def scores(**world):
        return Evaluator(
            ModelPredictor(model),
            heldout,
            vocab_size=V,
            families=families,
            world=World(**world),
        ).scores()

    whole = scores()
    for rank in range(3):
        scores(rank=rank, size=3)
    total = np.sum(collected[1:], axis=0)
    assert total[0] == whole.positions and total[3] == whole.counts["kl"]
    assert total[2] / total[0] == pytest.approx(whole.cross_entropy, rel=1e-6)
    assert np.isnan(scores(rank=63, size=64).accuracy)  # no rows of its own: it adds nothing
    assert collected[-1].tolist() == [0.0] * 5


def test_every_score_has_a_metric_with_a_direction(toy_with_families, heldout, model):
    families = opened(toy_with_families, heldout, "top", "narrow")
    comparison = Comparison(name="narrow_layer1", family="narrow", layer=1)
    scores = Evaluator(
        ModelPredictor(model), heldout, vocab_size=V, families=families, comparisons=[comparison]
    ).scores()
    values = scores.metrics()
    better = {n: metric(n).higher_is_better for n in values if "count" not in n}
    assert better == {
        "eval/accuracy": True,
        "eval/cross_entropy": False,
        "eval/kl": False,
        "eval/cosine_narrow_layer1": True,
    }
    assert values["eval/count_masked"] == scores.positions
    for part in ("accuracy 0.", " ce ", " kl ", " cosine narrow_layer1 ", " masked tokens"):
        assert part in scores.text()


def test_unigram_has_the_smoothed_frequencies_of_true_ids(heldout):
    counts = np.ones(V)
    for _, _, _, true in masked(heldout):
        counts[true] += 1
    unigram = Unigram.fit(heldout, vocab_size=V)
    np.testing.assert_allclose(np.exp(unigram.log_probs), counts / counts.sum(), rtol=1e-6)
    scores = Evaluator(unigram, heldout, vocab_size=V).scores()
    true = np.array([t for _, _, _, t in masked(heldout)])
    assert scores.accuracy == pytest.approx(np.mean(true == np.argmax(counts)))
    assert scores.cross_entropy == pytest.approx(-np.log(counts / counts.sum())[true].mean())
    assert scores.kl is None


def test_families_that_give_no_kl_are_refused(toy_with_families, heldout, model):
    toy = toy_with_families
    student = StudentFacts(architecture=model.architecture)
    toy.sparse(toy.root / "examples", "hot", temperatures=(2.0, 4.0))
    families = opened(toy, heldout, "hot", "top", "final")
    with pytest.raises(UsageError, match=r"'hot': temperature 1 is not in its grid, \[2.0, 4.0\]"):
        check_distribution(families["hot"], student=student)
    wide = StudentFacts(architecture=dataclasses.replace(model.architecture, vocab_size=60))
    with pytest.raises(UsageError, match="decoder has 50 ids and the student 60"):
        check_distribution(families["final"], student=wide)
    with pytest.raises(UsageError, match="the student predicts no tokens"):
        check_distribution(families["top"], student=dataclasses.replace(student, language=None))
    with pytest.raises(UsageError, match="labels masked positions, and the student predicts"):
        check_distribution(families["top"], student=dataclasses.replace(student, language="next"))
    with pytest.raises(UsageError, match="'top' and 'final' both give"):
        distribution_of({name: families[name] for name in ("top", "final")})
    fitted = Fitted(
        signal=SparseSignal(threshold=0.05, sample=True, form="lean", temperatures=(1.0,))
    )
    lean = type(families["top"])(name="top", dataset=families["top"].dataset, fitted=fitted)
    with pytest.raises(UsageError, match="lean sample, which does not tell"):
        check_distribution(lean, student=student)
    fitted = Fitted(signal=RelationsSignal(layer=1))
    other = type(lean)(name="top", dataset=lean.dataset, fitted=fitted)
    with pytest.raises(UsageError, match="'top' holds a relations signal"):
        distribution_of({"top": other})


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ({"other": "states"}, {}, "no term of the objective compares a layer"),
        ({"states": "narrow"}, {}, "'states' is 8 wide and .* after their projection 12"),
        ({"states": "deep"}, {}, "holds layer 3 of the teacher, .* learns from its layer 2"),
        ({}, {"best_metric": "kl"}, "best_metric is kl"),
        ({"states": "states"}, {"best_metric": "kl"}, "gives accuracy, cross_entropy"),
    ],
)
def test_heldout_labels_that_do_not_fit_the_recipe_are_refused_before_anything_starts(
    toy_with_families, labels, changes, message
):
    toy = toy_with_families
    if not (toy.root / "deep").exists():
        toy.hidden(toy.root / "examples", "deep", layer=3)
    best = {"keep_best": True, "evaluate_every": 1}
    plain = toy.distil(training={**best, **changes} if changes else {})
    plain["data"] |= {
        "heldout": str(toy.root / "examples"),
        "heldout_labels": {name: str(toy.root / path) for name, path in labels.items()},
    }
    with pytest.raises(UsageError, match=message):
        open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))
