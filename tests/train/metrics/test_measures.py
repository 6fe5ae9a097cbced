"""Evaluations of heads against loops over rows in NumPy, whatever the batches are."""

import math

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.config import UsageError
from limbeck.labels import codecs
from limbeck.labels.family import attachments, codec_settings
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import LabelDims, TaskSignal
from limbeck.records.dataset import open_dataset
from limbeck.records.keys import input_digest
from limbeck.runs import metric
from tests.train.conftest import ARCHITECTURE, S, V, write_dataset
from tests.train.kinds import write_kind
from tests.train.students.test_student_plan import DECODER
from train.evaluate import Evaluation, Evaluator, ModelPredictor
from train.metrics.questions import label_questions
from train.reading.families import open_family
from train.recipe.heads import Head
from train.students.student_model import fresh_model
from train.students.student_plan import StudentPlan

SHAPE = EncoderArchitecture(**ARCHITECTURE, initializer_range=0.5)
KINDS = {
    "classification": ("classification", 3),
    "multi-label": ("classification", 3),
    "regression": ("classification", 1),
    "tagging": ("tagging", 3),
    "qa": ("span", 2),
    "unmasked-pairs": ("next_sentence", 2),
}


KNOWN = {
    "classification": lambda r: r["class_id"] >= 0,
    "multi-label": lambda r: r["class_flags"][:, 0] != 255,
    "regression": lambda r: ~np.isnan(r["target"]),
    "tagging": lambda r: r["tags"][:, 0] != 65_535,
    "qa": lambda r: r["answerable"] != 255,
    "unmasked-pairs": lambda r: r["is_random_next"] != 255,
}


@pytest.fixture(scope="module")
def tasks(shared_toy):
    for kind in (*KINDS, "clm"):
        write_kind(shared_toy, kind, num_rows=19)
    return shared_toy


def student(kind, num_labels):
    """A plan of one head, and a model whose answers differ."""
    heads = {kind: Head(kind=kind, num_labels=num_labels)}
    plan = StudentPlan(architecture=SHAPE, kind=kind, heads=heads)
    return plan, fresh_model(plan, seed=2)


def rows_of(tasks, name):
    dataset = open_dataset(tasks.root / name)
    return dataset, dataset.read(np.arange(dataset.num_rows))


def answers(model, rows, i):
    """What a model says of one row without padding."""
    n, split = int(rows["num_tokens"][i]), int(rows["segment_split"][i])
    ids = tf.constant(rows["ids"][i : i + 1, :n].astype(np.int32))
    segments = tf.constant([[0] * split + [1] * (n - split)])
    said = model(ids, segments, tf.ones_like(ids))
    if hasattr(said, "start"):
        return np.stack([said.start[0], said.end[0]], -1).astype(np.float64)
    return said[0].numpy().astype(np.float64)


def log_softmax(z, axis=-1):
    return z - np.logaddexp.reduce(z, axis=axis, keepdims=True)


def f1(pairs, number):
    hit = sum(g == t == number for g, t in pairs)
    return 2 * hit / (sum(g == number for g, _ in pairs) + sum(t == number for _, t in pairs))


def class_scores(logits, true):
    """accuracy, macro_f1, cross_entropy of (n, C) logits and (n,) classes."""
    guesses = [int(z.argmax()) for z in logits]
    pairs = list(zip(guesses, true, strict=True))
    there = {n for pair in pairs for n in pair}
    return {
        "accuracy": np.mean([g == t for g, t in pairs]),
        "macro_f1": np.mean([f1(pairs, n) for n in sorted(there)]),
        "cross_entropy": -np.mean([log_softmax(z)[t] for z, t in zip(logits, true, strict=True)]),
    }


def oracle(kind, model, rows):
    """Metrics from the definitions, row by row."""
    known = np.flatnonzero(KNOWN[kind](rows)).tolist()
    said = {i: answers(model, rows, i) for i in known}
    if kind in ("classification", "unmasked-pairs"):
        name = "class_id" if kind == "classification" else "is_random_next"
        return len(known), class_scores([said[i] for i in known], [rows[name][i] for i in known])
    if kind == "tagging":
        pairs = [(said[i][t], rows["tags"][i, t]) for i in known for t in range(len(said[i]))]
        return len(pairs), class_scores([z for z, _ in pairs], [int(t) for _, t in pairs])
    if kind == "multi-label":
        z = np.array([said[i] for i in known])
        y = rows["class_flags"][known].astype(np.float64)
        hits = ((z > 0) & (y > 0)).sum()
        return len(known), {
            "micro_f1": 2 * hits / ((z > 0).sum() + y.sum()),
            "cross_entropy": (np.logaddexp(0, z) - y * z).mean(),
        }
    if kind == "regression":
        z = np.array([said[i][0] for i in known])
        y = rows["target"][known].astype(np.float64)
        return len(known), {"mse": ((z - y) ** 2).mean(), "pearson": np.corrcoef(z, y)[0, 1]}
    spans = [(int(rows["span_start"][i]), int(rows["span_end"][i])) for i in known]
    guesses = [tuple(said[i].argmax(0).tolist()) for i in known]
    losses = [
        -(log_softmax(said[i], 0)[s, 0] + log_softmax(said[i], 0)[e, 1]) / 2
        for i, (s, e) in zip(known, spans, strict=True)
    ]
    exact = np.mean([g == s for g, s in zip(guesses, spans, strict=True)])
    return len(known), {"exact_match": exact, "cross_entropy": np.mean(losses)}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_a_slow_oracle_for_any_batch_size(tasks, kind):
    plan, model = student(*KINDS[kind])
    examples, rows = rows_of(tasks, kind)
    count, expected = oracle(kind, model, rows)
    for batch_rows in (32, 5):
        scores = Evaluator(
            ModelPredictor(model, plan), examples, vocab_size=V, batch_rows=batch_rows
        ).scores()
        assert scores.positions == count
        assert list(scores.values) == list(expected)
        # Float32 logits of a small model; sums are float64.
        assert dict(scores.values) == pytest.approx(expected, rel=2e-5, abs=1e-6)
        assert all(metric(name).meaning for name in scores.metrics())


def test_causal_lm_is_scored_by_its_next_tokens(tasks):
    plan = StudentPlan(
        architecture=DecoderArchitecture(**DECODER, initializer_range=0.5), kind="causal_lm"
    )
    model = fresh_model(plan, seed=2)
    examples, rows = rows_of(tasks, "clm")
    right, losses = [], []
    for i, n in enumerate(rows["num_tokens"].tolist()):
        ids = tf.constant(rows["ids"][i : i + 1, :n].astype(np.int32))
        z = model(ids, tf.zeros_like(ids), tf.ones_like(ids), tf.range(n)[None])[0]
        log_p = log_softmax(z.numpy().astype(np.float64))
        for t in range(n - 1):
            true = int(rows["ids"][i, t + 1])
            right.append(log_p[t].argmax() == true)
            losses.append(-log_p[t, true])
    scores = Evaluator(ModelPredictor(model, plan), examples, vocab_size=V, batch_rows=7).scores()
    assert scores.counts == {"next": len(losses)}
    assert scores.accuracy == pytest.approx(np.mean(right))
    assert scores.cross_entropy == pytest.approx(np.mean(losses), rel=1e-5)
    assert scores.values["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-4)
    assert "next tokens" in scores.text()


@pytest.mark.parametrize(("kind", "positions"), [("classification", "first"), ("tagging", "all")])
def test_task_family_gives_the_kl_over_the_outputs_of_its_head(tasks, kind, positions):
    plan, model = student(*KINDS[kind])
    examples, rows = rows_of(tasks, kind)
    family, logits = write_task_family(tasks, kind, examples, rows, positions)
    said = [np.atleast_2d(answers(model, rows, i)) for i in range(len(rows["key"]))]
    log_p, log_q = log_softmax(logits.astype(np.float64)), log_softmax(np.concatenate(said))
    expected = (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    scores = Evaluator(
        ModelPredictor(model, plan), examples, vocab_size=V, families={"teacher": family}
    ).scores()
    assert scores.kl == pytest.approx(expected, rel=2e-5)
    assert scores.counts["kl"] == len(logits)  # rows without a label have a teacher all the same


def write_task_family(toy, name, examples, rows, positions):
    """A stored family of random logits of three outputs."""
    counts = np.ones(len(rows["key"]), np.int64)
    if positions == "all":
        counts = rows["num_tokens"].astype(np.int64)
    logits = np.random.default_rng(4).normal(size=(int(counts.sum()), 3)).astype(np.float32)
    fitted = Fitted(signal=TaskSignal(positions=positions))
    dims = LabelDims(seq_length=S, max_predictions=None, vocab_size=V, num_labels=3)
    layout = fitted.signal.layout(dims)
    fields = codecs.to_records(fitted, {"logits": logits}, counts, layout=layout)
    digest = input_digest(rows["ids"], rows["num_tokens"], rows["segment_split"])
    directory = write_dataset(
        toy.root / f"{name}-task",
        {"key": rows["key"], "digest": digest, **fields},
        kind="labels",
        layout=layout,
        num_shards=len(examples.shards),
        settings=codec_settings(fitted),
        parents={"examples": examples.id},
        teacher={"fingerprint": "1" * 64, "vocab_size": V},
        attachments=attachments(fitted),
    )
    return open_family("teacher", str(directory), examples, vocab_size=V), logits


def test_several_heads_are_scored_on_examples_of_their_own(tasks):
    heads = {
        "topic": Head(kind="classification", num_labels=3),
        "words": Head(kind="tagging", num_labels=3),
    }
    plan = StudentPlan(architecture=SHAPE, kind="several", heads=heads)
    predictor = ModelPredictor(fresh_model(plan, seed=2), plan)
    sets = {"topic": "classification", "words": "tagging"}
    parts = [
        Evaluator(predictor, rows_of(tasks, name)[0], vocab_size=V, only=only)
        for only, name in sets.items()
    ]
    scores = Evaluation(parts).scores()
    assert set(scores.counts) == {"class_topic", "tags_words"}
    assert {"accuracy_topic", "macro_f1_words"} <= set(scores.values) and scores.accuracy is None
    with pytest.raises(UsageError, match="nothing in these examples can be evaluated"):
        Evaluator(predictor, rows_of(tasks, "regression")[0], vocab_size=V, only="words")


def test_heads_of_the_same_labels_must_be_named(tasks):
    examples, _ = rows_of(tasks, "classification")
    heads = {n: Head(kind="classification", num_labels=3) for n in ("a", "b")}
    facts = StudentPlan(architecture=SHAPE, kind="several", heads=heads).facts
    with pytest.raises(UsageError, match="could be for any of the heads a, b; name the head"):
        label_questions(facts, examples)
    (question,) = label_questions(facts, examples, only="b")
    assert question.metrics == ("accuracy_b", "macro_f1_b", "cross_entropy_b")


def test_labels_that_the_head_has_no_outputs_for_are_refused(tasks):
    examples, _ = rows_of(tasks, "classification")
    heads = {"classification": Head(kind="classification", num_labels=4)}
    facts = StudentPlan(architecture=SHAPE, kind="classification", heads=heads).facts
    with pytest.raises(UsageError, match="has 3 labels, and the student's head 'classification' 4"):
        label_questions(facts, examples)
