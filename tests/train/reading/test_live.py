"""A live teacher behind the interface of the store: the same loss and gradients, row by row."""

import dataclasses

import numpy as np
import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.labels import codecs
from limbeck.labels.signals import FinalSignal, SparseSignal, to_dict
from limbeck.ranks import World
from limbeck.runs import RunDirectory
from limbeck.teachers import Items, TeacherBatch, find_teacher, load_teacher
from tests.train.live_teacher import SEED, SIGNALS, TERMS, V, recipe_of, source_of, write_teacher
from train.inputs import open_inputs
from train.recipe import Recipe
from train.stream import Stream


@pytest.fixture(scope="module")
def labelled(shared_toy):
    """The toy examples, a teacher, and what an extraction stores of it; (toy, teacher folder)."""
    from tensorflow.python.framework import config

    from extract.run import extract
    from extract.settings import ExtractSettings

    folder = write_teacher(shared_toy.root / "teacher", shared_toy.tokenizer())
    examples, out = str(shared_toy.root / "examples"), str(shared_toy.root / "labels")
    extract(
        ExtractSettings(
            families=SIGNALS, examples=examples, teacher=folder, out=out, seed=SEED, threads=0
        ),
        say=lambda line: None,
    )
    yield shared_toy, folder
    config.disable_op_determinism()


def test_same_signals_give_the_same_loss_and_gradients(labelled, tmp_path):
    """Every kind of term, one compiled step. The teacher sees other batches than it did in the
    extraction, so its float32 answers differ in last bits: 1e-5 of the largest gradient."""
    from train.job import build_job
    from train.updates.advance import prepare_batch

    toy, folder = labelled
    run = RunDirectory(tmp_path / "run")
    run.take({})
    job = build_job(open_inputs(recipe_of(toy)), run, World())
    found = {}
    for name, source in (
        ("store", job.source),
        ("live", source_of(recipe_of(toy, teacher=folder))),
    ):
        batch = prepare_batch(source.read(source.global_rows(0)))
        counts = job.objective.counts(batch.items)
        factors = job.objective.factors(counts)
        found[name] = counts, job.step.gradients(batch.micro, factors, step=0)
    (counts, store), (live_counts, live) = found["store"], found["live"]
    np.testing.assert_array_equal(counts, live_counts)
    assert (counts > 0).all()
    np.testing.assert_allclose(live.sums, store.sums, rtol=1e-5, atol=1e-5)
    assert np.isfinite(store.sums).all() and (store.sums.numpy() > 0).all()
    largest = max(float(np.abs(g).max()) for g in store.grads)
    for ours, theirs in zip(live.grads, store.grads, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * largest)
    _assert_plain_distillation(job, batch.micro[0], load_teacher(folder))


def test_distributions_at_all_tokens_give_the_plain_kl(labelled, tmp_path):
    """Logits are computed wherever a family has labels, not at masked positions only."""
    from train.job import build_job
    from train.updates.advance import prepare_batch

    toy, folder = labelled
    signal = to_dict(FinalSignal(codec="float32", positions="all"))
    data = {
        "examples": str(toy.root / "examples"),
        "teacher": {"path": folder, "signals": {"full": signal}},
    }
    recipe = yaml_file.from_plain(Recipe, toy.recipe(data=data, objective=[TERMS[0]]), "recipe")
    run = RunDirectory(tmp_path / "run")
    run.take({})
    job = build_job(open_inputs(recipe), run, World())
    batch = prepare_batch(job.source.read(job.source.global_rows(0)))
    assert job.objective.counts(batch.items) == [batch.num_tokens]
    _assert_plain_distillation(job, batch.micro[0], load_teacher(folder), group="all")


def _assert_plain_distillation(job, micro, teacher, group="masked"):
    """The full signal's term is the KL of the two models' logits, in float64 NumPy."""
    from train.students.forward import forward

    outputs = forward(job.step.student, micro, job.objective, dropout=None)
    got = job.objective.sums(outputs, micro, job.step.student.projections)[0]
    index = micro["items"][group]["index"].numpy()
    valid = micro["items"][group]["valid"].numpy()
    batch = teacher_batch({name: micro[name].numpy() for name in TOKENS}, index[valid])
    logits = teacher.raw(batch, {"all": SparseSignal(k=V)})["all"]["logits"]
    student = outputs["fed"].logits[group].numpy()[valid]
    p, q = (_log_softmax(x / 3.0) for x in (logits, student))
    np.testing.assert_allclose(got, (np.exp(p) * (p - q)).sum(), rtol=1e-5)  # float32 sums


def _log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


TOKENS = ("ids", "segment_ids", "attention_mask")


def teacher_batch(micro, masked):
    """What a teacher gets of a micro-batch that the student got; `masked` (M,) are its items."""
    true_ids = np.zeros(len(masked), np.int32)
    items = {"masked": Items(index=masked, true_ids=true_ids)}
    return TeacherBatch(**{name: micro[name] for name in TOKENS}, items=items)


@pytest.mark.parametrize(
    ("world_size", "ranks", "micro_batch", "batch_tokens"),
    [(1, [0], None, 4096), (9, [0, 1, 8], None, 4096), (2, [0, 1], 2, 20)],
)
def test_every_row_has_the_answers_of_the_store(
    labelled, world_size, ranks, micro_batch, batch_tokens
):
    """All rows of an epoch: on every rank (some have none), in micro-batches, and a row or two a
    forward pass. What rounds may round the other way: one unit of the codec."""
    toy, folder = labelled
    teacher = {"batch_tokens": batch_tokens}
    objective = [term for term in TERMS if term.get("signal") not in ("head", "states")]
    live = source_of(recipe_of(toy, teacher=folder, objective=objective, settings=teacher))
    store = source_of(recipe_of(toy, objective=objective))
    for rank in ranks:
        world = World(rank=rank, size=world_size, local_rank=rank, local_size=world_size)
        ours, theirs = (
            dataclasses.replace(source, world=world, micro_batch=micro_batch)
            for source in (live, store)
        )
        position = 0
        while position < ours.order.num_rows:
            whole = ours.global_rows(position)
            _assert_alike(ours.read(whole), theirs.read(whole))
            position = whole.next_position


TOLERANCE = {"final": 0.02, "first": 0.02, "top": 1e-3}  # int8 of states up to 2.5; float16


def _assert_alike(ours, theirs):
    assert ours.items == theirs.items and len(ours.micro) == len(theirs.micro)
    for mine, stored in zip(ours.micro, theirs.micro, strict=True):
        for name, fields in stored["teacher"].items():
            assert mine["teacher"][name].keys() == fields.keys()
            for field, array in fields.items():
                got = mine["teacher"][name][field]
                assert got.dtype == array.dtype and got.shape == array.shape, (name, field)
                atol = TOLERANCE.get(name, 1e-5)
                np.testing.assert_allclose(got, array, rtol=1e-5, atol=atol, err_msg=name)


def test_threads_and_prefetch_change_nothing(labelled):
    toy, folder = labelled
    source = source_of(recipe_of(toy, teacher=folder))
    alone, ahead = (
        list(Stream(source, position=0, num_batches=8, threads=threads, depth=depth))
        for threads, depth in ((1, 0), (3, 6))
    )
    for one, other in zip(alone, ahead, strict=True):
        for fields, others in zip(_fields(one), _fields(other), strict=True):
            np.testing.assert_array_equal(fields, others)


def _fields(batch):
    teacher = batch.micro[0]["teacher"]
    return [array for fields in teacher.values() for array in fields.values()]


def test_rows_masked_while_training_are_answered_as_they_are_fed(toy):
    """What no store can serve: a new mask at every visit, and labels of just that input."""
    toy.examples(masked=False)
    folder = write_teacher(toy.root / "teacher", toy.tokenizer())
    masking = {"tokenizer": str(toy.root / "vocab.txt"), "rate": 0.3}
    recipe = recipe_of(
        toy, teacher=folder, objective=[{"loss": "kl", "signal": "full"}], masking=masking
    )
    source = source_of(recipe)
    teacher, signal = load_teacher(folder), SIGNALS["full"]
    for epoch in (0, 1):
        micro = source.read(source.global_rows(epoch * source.order.num_rows)).micro[0]
        valid = micro["items"]["masked"]["valid"]
        batch = teacher_batch(micro, micro["items"]["masked"]["index"][valid])
        raw = teacher.raw(batch, {"full": signal})["full"]["states"]
        assert len(raw)
        # Other shapes, other order of sums in float32.
        np.testing.assert_allclose(micro["teacher"]["full"]["states"][valid], raw, atol=1e-5)


def test_a_run_beside_its_teacher_resumes_to_the_same_bytes(labelled, tmp_path, deterministic):
    from train.checkpoints import checkpoint
    from train.loop import train

    toy, folder = labelled
    recipe = recipe_of(toy, teacher=folder, objective=[TERMS[0], TERMS[5]])
    lines = []
    result = train(recipe, tmp_path / "run", say=lines.append)
    assert result.finished and np.isfinite(result.loss)
    teacher = next(line for line in lines if line.startswith("teacher "))
    assert "live" in teacher and folder in teacher and "full (final, masked)" in teacher
    checkpoints = RunDirectory(tmp_path / "run").checkpoints
    before = checkpoint.load_newest(checkpoints)
    checkpoint.list_checkpoints(checkpoints)[0].unlink()  # as if killed after the one before it
    train(recipe, tmp_path / "run", say=lines.append)
    after = checkpoint.load_newest(checkpoints)
    assert any(line.startswith("resumed   after step 3") for line in lines)
    assert before.progressed.step == after.progressed.step == 6
    for name, tensor in before.tensors.items():  # the same answers, to the last bit
        np.testing.assert_array_equal(after.tensors[name], tensor)


def test_state_names_the_teacher(labelled, tmp_path):
    toy, folder = labelled
    other = write_teacher(tmp_path / "other", toy.tokenizer(), num_layers=1)
    objective = [TERMS[0]]
    state = source_of(recipe_of(toy, teacher=folder, objective=objective)).state(7)
    changed = source_of(recipe_of(toy, teacher=other, objective=objective))
    with pytest.raises(UsageError, match="dataset"):
        changed.check_state(state)
    source_of(recipe_of(toy, teacher=folder, objective=objective)).check_state(state)


def test_codecs_are_settled_as_an_extraction_settles_them(labelled):
    toy, folder = labelled
    inputs = open_inputs(recipe_of(toy, teacher=folder))
    from limbeck.labels.family import read_fitted
    from limbeck.records.dataset import open_dataset

    for name, family in inputs.families.items():
        stored = read_fitted(open_dataset(str(toy.root / "labels" / name)))
        assert family.fitted.signal == stored.signal
        assert family.fitted.chosen == stored.chosen
        for tensor, values in stored.tensors.items():
            np.testing.assert_allclose(family.fitted.tensors[tensor], values, atol=1e-5)
    assert codecs.sample_positions(SIGNALS["head"]) > 0  # one of them did look at the examples


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pytorch"])
def test_another_backend_answers_alike(labelled, backend):
    """Within 1e-3 of logits that span 10: another framework's float32."""
    pytest.importorskip("torch")
    toy, folder = labelled
    objective = [TERMS[0], TERMS[2]]
    keras, other = (
        source_of(recipe_of(toy, teacher=folder, objective=objective, settings=settings))
        for settings in ({}, {"backend": backend})
    )
    assert find_teacher(folder, backend=backend).facts.backend == backend
    whole = keras.global_rows(0)
    for mine, theirs in zip(_fields(keras.read(whole)), _fields(other.read(whole)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)
