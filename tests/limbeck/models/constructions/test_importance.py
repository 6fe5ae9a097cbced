import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from limbeck.models.constructions import Importance, Step, construct
from limbeck.models.constructions.importance import importance_of_gradients
from limbeck.models.constructions.measure import importance_on_examples
from limbeck.models.constructions.model import measured_importance, model_of
from limbeck.models.constructions.steps import Width
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import examples_layout
from limbeck.records.keys import key_rows, make_key
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import WordPiece
from limbeck.weights.hf import export_hf

NORMS, BLOCKS = ("attention_norm", "feed_forward_norm"), ("attention/output", "feed_forward/outer")

NUDGE = 2e-2  # a step that leaves enough of float32's digits; the error goes with its square


@pytest.fixture
def loss_of(batch):
    """The loss of a model on one row, as a function of the row's number."""

    def loss_of(model, row):
        inputs = {name: tf.constant(v[row : row + 1]) for name, v in batch.items()}
        log = tf.nn.log_softmax(model.logits(model.encode(**inputs).last))
        return -tf.reduce_mean(log[0, :4, 7])

    return loss_of


def scaled(made, factor, *slices):
    """The model with a factor on slices of variables: (name, index)."""
    tensors = dict(made.tensors)
    for name, index in slices:
        tensors[name] = tensors[name].copy()
        tensors[name][index] *= factor
    return model_of(dataclasses.replace(made, tensors=tensors), seed=0)


def units():
    """A unit of each kind, and the slices that a factor on it scales."""
    layer = "encoder/layer_2/"
    yield "neurons", (2, 5), [(f"{layer}feed_forward/outer/kernel", 5)]
    yield "heads", (2, 3), [(f"{layer}attention/output/kernel", slice(12, 16))]
    writers = ["encoder/embeddings/norm/gamma", "encoder/embeddings/norm/beta"]
    for i in range(4):
        stem = f"encoder/layer_{i}/"
        writers += [f"{stem}{n}/{leaf}" for n in NORMS for leaf in ("gamma", "beta")]
        writers += [f"{stem}{n}/{leaf}" for n in BLOCKS for leaf in ("kernel", "bias")]
    yield "hidden", (9,), [(name, (..., 9)) for name in writers]


@pytest.mark.parametrize(("kind", "unit", "slices"), list(units()))
def test_score_is_the_mean_absolute_derivative_by_a_factor(
    make_teacher, loss_of, kind, unit, slices
):
    teacher = make_teacher()
    model = model_of(teacher, seed=0)
    scores = measured_importance(model, [lambda r=row: loss_of(model, r) for row in (0, 1)])
    derivatives = []
    for row in (0, 1):
        up, down = (loss_of(scaled(teacher, 1 + d, *slices), row) for d in (NUDGE, -NUDGE))
        derivatives.append(abs(float(up - down)) / (2 * NUDGE))
    # A central difference: its error is of the order of NUDGE squared.
    assert getattr(scores, kind)[unit] == pytest.approx(np.mean(derivatives), rel=2e-2, abs=1e-4)


def test_scores_are_read_back_from_their_tensors(make_teacher, loss_of):
    model = model_of(make_teacher(family="albert", shared_layers=True, embedding_dim=8), seed=0)
    scores = measured_importance(model, [lambda: loss_of(model, 0)])
    again = Importance.from_tensors(scores.tensors(), model.architecture, where="file")
    np.testing.assert_allclose(again.heads, scores.heads, rtol=1e-6)
    assert again.neurons.shape == (1, 20)


def test_no_batch_is_refused(make_teacher):
    teacher = make_teacher()
    with pytest.raises(ValueError, match="at least one batch"):
        importance_of_gradients(teacher.architecture, teacher.tensors, [])


def write_examples(directory, *, num_rows=12, info=None):
    """Masked examples of random tokens: 9 slots, 2 masked positions a row."""
    rng = np.random.default_rng(0)
    rows = {
        "key": key_rows([make_key(corpus="toy", page=i) for i in range(num_rows)]),
        "ids": rng.integers(5, 61, (num_rows, 9)).astype(np.uint16),
        "num_tokens": np.full(num_rows, 9, np.uint16),
        "segment_split": np.full(num_rows, 4, np.uint16),
        "mask_positions": np.repeat([[2, 5]], num_rows, axis=0).astype(np.uint16),
        "mask_ids": rng.integers(5, 61, (num_rows, 2)).astype(np.uint16),
        "num_masked": np.full(num_rows, 2, np.uint16),
        "is_random_next": np.full(num_rows, 255, np.uint8),
    }
    layout = examples_layout(seq_length=9, max_predictions=2, vocab_size=61)
    job = {"name": "toy", "kind": "examples", "layout": layout, "num_shards": 1}
    writer = DatasetWriter(str(directory), settings={}, tokenizer=info, **job)
    writer.open()
    writer.write_shard(0, rows, lengths=rows["num_tokens"])
    writer.finish()
    return directory


def test_importance_on_examples_is_that_of_their_masked_lm_loss(make_teacher, tmp_path):
    teacher = make_teacher()
    model = model_of(teacher, seed=0)
    examples = open_dataset(write_examples(tmp_path / "examples"))
    scores = importance_on_examples(model, examples, num_rows=99, batch=5)  # 5 + 5 + 2 rows
    every = examples.read(np.arange(12))

    def loss(part):
        rows = {name: values[part] for name, values in every.items()}
        ids = tf.constant(rows["ids"].astype(np.int32))
        segments = tf.constant([[0] * 4 + [1] * 5] * len(rows["ids"]))
        logits = model(ids, segments, tf.ones_like(ids), tf.constant([[2, 5]] * len(rows["ids"])))
        true = rows["mask_ids"].astype(np.int32)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(true, logits))

    parts = (slice(0, 5), slice(5, 10), slice(10, 12))
    expected = measured_importance(model, [lambda p=part: loss(p) for part in parts])
    for name, values in expected.tensors().items():
        np.testing.assert_allclose(scores.tensors()[name], values, rtol=1e-4, atol=1e-6)


def test_command_writes_scores_that_width_reads(make_teacher, vocab_file, tmp_path):
    teacher, tokenizer = make_teacher(), WordPiece(vocab_file)
    export_hf(model_of(teacher, seed=0), tmp_path / "model", tokenizer=tokenizer)
    examples = write_examples(tmp_path / "examples", info=tokenizer.info())
    command = [sys.executable, "-m", "limbeck.models.constructions", "importance"]
    command += [tmp_path / "model", examples, tmp_path / "scores", "--rows", "8"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "scores: hidden 24, heads 4 x 6, neurons 4 x 20, measured on 8 rows" in done.stdout
    step = Step(width=Width(hidden_dim=8, importance=str(tmp_path / "scores")))
    made = construct(teacher.architecture, teacher.tensors, [step], teacher=tmp_path / "model")
    assert made.architecture.hidden_dim == 8
