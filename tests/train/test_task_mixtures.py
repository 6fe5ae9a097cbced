"""Mixtures of corpora with labels and tasks of their own: lists, sums, masks."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError, yaml_file
from limbeck.order import StreamState
from limbeck.ranks import World
from limbeck.runs import RunDirectory
from tests.train.corpora_toy import KL, MLM, STATES, mixture, opened, tasks, two, write_corpora
from train.objective import bind
from train.reading.corpora import open_corpora
from train.reading.masking import open_masker
from train.recipe import Data
from train.starting.plan import plan_lines
from train.step import to_tensors
from train.stream import Stream
from train.students.forward import forward
from train.students.student import build_student


@pytest.fixture(scope="module")
def toy(shared_toy):
    return write_corpora(shared_toy)


def fed(inputs, *, world=None, position=0, num_batches=1, lists=None):
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    source = inputs.source(world or World(), lists or objective.lists)
    with Stream(source, position=position, num_batches=num_batches) as stream:
        return list(stream)


def sums_of(inputs, batch, student, *, gradient=False):
    """(J,) S_j and N_j of a batch; with the gradient of sum S_j / N_j."""
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    counts = objective.counts(batch.items)
    total, grads = np.zeros(len(counts)), 0
    for micro in batch.micro:
        tensors = to_tensors(micro)
        with tf.GradientTape() as tape:
            outputs = forward(student, tensors, objective, dropout=None)
            sums = objective.sums(outputs, tensors, student.projections)
            loss = tf.reduce_sum(sums * objective.factors(counts))
        if gradient:
            found = tape.gradient(
                loss,
                [v.value for v in student.trained],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            grads = grads + np.concatenate([tf.reshape(g, -1).numpy() for g in found])
        total += sums.numpy()
    return (total, counts, grads) if gradient else (total, counts)


def alone(inputs, rows, source=None):
    """A batch of the given rows, of another source where one is given."""
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    source = source or inputs.source(World(), objective.lists)
    whole = source.global_rows(0)
    n = len(rows)
    rows = np.asarray(rows, np.int64)
    return dataclasses.replace(source, global_batch=n).read(
        dataclasses.replace(whole, rows=rows, positions=np.arange(n), epochs=np.zeros(n, np.int64))
    )


def test_family_that_a_corpus_lacks_has_no_entries_there(toy):
    inputs = opened(toy, **two(toy))
    assert inputs.families["top"].list_name == "masked of top"
    assert inputs.families["states"].list_name == "all"
    student = build_student(inputs)
    batch = alone(inputs, [3, 41, 17, 52, 60])
    sums, counts, gradient = sums_of(inputs, batch, student, gradient=True)
    # Term by term from the corpora alone: all families over a's rows, one of them over b's.
    first = opened(
        toy,
        data={
            "examples": str(toy.root / "examples"),
            "labels": {"top": str(toy.root / "top"), "states": str(toy.root / "narrow")},
        },
        objective=[KL, MLM, STATES],
    )
    second = opened(
        toy,
        data={
            "examples": str(toy.root / "more"),
            "labels": {"states": str(toy.root / "more-narrow")},
        },
        objective=[MLM, STATES],
    )
    sums_a, counts_a = sums_of(first, alone(first, [3, 17]), student)
    sums_b, counts_b = sums_of(second, alone(second, [1, 12, 20]), student)
    expected = sums_a + [0, *sums_b]
    np.testing.assert_array_equal(counts, counts_a + [0, *counts_b])
    np.testing.assert_allclose(sums, expected, rtol=1e-5)  # float32 sums in another order
    assert counts[0] > 0 and np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_batch_without_a_row_of_a_corpus_keeps_every_list_and_type(toy):
    inputs = opened(toy, **two(toy))
    spec = None
    for rows in ([1, 2, 3], [41, 42, 43], [1, 41, 2]):
        (micro,) = alone(inputs, rows).micro
        parts = tf.nest.map_structure(lambda x: (x.dtype.str, x.shape[1:]), micro["teacher"])
        assert spec in (None, parts)
        spec = parts
    sums, counts = sums_of(inputs, alone(inputs, [41, 42]), build_student(inputs))
    assert counts[0] == 0 and sums[0] == 0


@pytest.mark.parametrize("exponent", [None, 0, 0.5])
def test_every_world_and_every_resume_feed_the_same_entries(toy, exponent):
    plain = tasks(toy, "classification", "tagging", "regression")
    plain["data"]["sampling_exponent"] = exponent
    inputs = opened(toy, **plain)
    lists = bind(inputs.recipe.objective, inputs.families, inputs.student).lists

    def content(ranks):
        """Keys and labels of each batch, over all ranks."""
        return [
            [b"".join(b.keys.tobytes() for b in step)]
            + [
                np.concatenate(
                    [m["labels"][name][m["items"][name]["valid"]] for b in step for m in b.micro]
                ).tobytes()
                for name in lists
            ]
            for step in zip(*ranks, strict=True)
        ]

    whole = content([fed(inputs, num_batches=10)])
    assert all(len(labels) for labels in zip(*whole, strict=True))
    for size in (2, 3, 7):
        ranks = [fed(inputs, num_batches=10, world=World(rank=r, size=size)) for r in range(size)]
        assert content(ranks) == whole
    source = inputs.source(World(), lists)
    for step in range(10):
        state = StreamState.from_json(source.state(7 * step).to_json())
        source.check_state(state)
        resumed = fed(inputs, position=state.position, num_batches=10 - step)
        assert content([resumed]) == whole[step:]


def test_rows_without_a_label_are_in_no_list_of_it(toy):
    inputs = opened(toy, **tasks(toy, "classification", "tagging", "regression"))
    batch = alone(inputs, np.arange(60))
    found = [part.examples.read(np.arange(20)) for part in inputs.corpora.parts]
    assert batch.items["class"] == (found[0]["class_id"] >= 0).sum() == 15
    assert batch.items["tags"] == (found[1]["tags"] != 65_535).sum()
    assert batch.items["target"] == np.isfinite(found[2]["target"]).sum() == 15
    sums, _, gradient = sums_of(inputs, batch, build_student(inputs), gradient=True)
    assert np.isfinite(sums).all() and np.isfinite(gradient).all()


def test_two_tasks_of_one_kind_are_told_apart_by_their_corpora(toy):
    plain = {
        "data": mixture(
            news={"examples": str(toy.root / "classification")},
            web={"examples": str(toy.root / "other-classes")},
        ),
        "objective": [
            {"loss": "class", "head": "topic", "corpus": "news"},
            {"loss": "class", "head": "tone", "corpus": "web"},
        ],
        "model": {"heads": {n: {"kind": "classification"} for n in ("topic", "tone")}},
    }
    inputs = opened(toy, **plain)
    student = build_student(inputs)
    sums, counts = sums_of(inputs, alone(inputs, [0, 1, 3, 25, 30]), student)
    for term, rows in ((0, [0, 1, 3]), (1, [25, 30])):
        own_sums, own_counts = sums_of(inputs, alone(inputs, rows), student)
        assert counts[term] == own_counts[term] > 0
        np.testing.assert_allclose(sums[term], own_sums[term], rtol=1e-5)
        assert own_counts[1 - term] == 0 and own_sums[1 - term] == 0
    plain["objective"][0]["corpus"] = "papers"
    with pytest.raises(
        UsageError, match=r"objective\[0\].corpus.* 'papers', which.* \(news, web\)"
    ):
        opened(toy, **plain)


def test_masked_text_beside_two_tasks_gives_the_sums_of_each_alone(toy):
    names = ("examples", "classification", "tagging")
    inputs = opened(
        toy,
        data=mixture(**{name: {"examples": str(toy.root / name)} for name in names}),
        objective=[MLM, {"loss": "class"}, {"loss": "tag"}],
        model={"heads": {n: {"kind": n} for n in ("masked_lm", *names[1:])}},
    )
    student = build_student(inputs)
    rows = [[3, 17, 20], [41, 42, 50], [60, 62, 70]]  # 40 of text, then 20 of each task
    sums, counts = sums_of(inputs, alone(inputs, [r[i] for i in range(3) for r in rows]), student)
    for term, own in enumerate(rows):
        own_sums, own_counts = sums_of(inputs, alone(inputs, own), student)
        assert counts[term] == own_counts[term] > 0
        np.testing.assert_allclose(sums[term], own_sums[term], rtol=1e-5)  # float32 sums
        assert np.delete(own_sums, term).tolist() == [0, 0]


def test_language_model_bound_to_a_corpus_sums_over_its_rows(toy):
    inputs = opened(toy, **two(toy))
    bound = [KL, {**MLM, "corpus": "b"}, MLM, STATES]
    some = opened(toy, **{**two(toy), "objective": bound})
    student = build_student(some)
    rows = [3, 41, 17, 52, 60]
    sums, counts = sums_of(some, alone(some, rows), student)
    of_b, counts_b = sums_of(inputs, alone(inputs, [41, 52, 60]), student)
    assert 0 < counts[1] == counts_b[1] < counts[2]
    np.testing.assert_allclose(sums[1], of_b[1], rtol=1e-5)


def test_masks_are_drawn_for_plain_text_and_other_rows_stay(toy):
    toy.examples("plain", num_rows=20, seed=6, page=3000, masked=False)
    masking = {"tokenizer": str(toy.tokenizer())}
    text = opened(toy, data={"examples": str(toy.root / "plain"), "masking": masking})
    plain = mixture(**{n: {"examples": str(toy.root / n)} for n in ("plain", "classification")})
    data = yaml_file.from_plain(Data, {**plain, "masking": masking}, "data")
    corpora = open_corpora(data, text.architecture, model=None)
    masker = open_masker(data.masking, corpora, seed=3, vocab_size=50)
    assert masker.corpora == (0,)
    source = dataclasses.replace(
        text.source(World(), ("masked", "class")), corpora=corpora, masker=masker
    )
    own, batch = alone(text, np.arange(20)), alone(text, np.arange(40), source)
    (mixed,), (single,) = batch.micro, own.micro
    np.testing.assert_array_equal(mixed["ids"][:20, : own.length], single["ids"])
    stored = corpora.parts[1].examples.read(np.arange(20))["ids"]
    np.testing.assert_array_equal(mixed["ids"][20:], stored[:, : batch.length])
    labels = [m["labels"]["masked"][m["items"]["masked"]["valid"]] for m in (mixed, single)]
    np.testing.assert_array_equal(*labels)
    assert batch.items["masked"] == own.items["masked"] > 0
    assert batch.items["class"] == 15
    (micro,) = alone(text, np.arange(20, 40), source).micro  # a batch without any text
    assert not micro["items"]["masked"]["valid"].any()
    assert micro["labels"]["masked"].dtype == single["labels"]["masked"].dtype


def test_families_of_two_widths_have_a_term_each_under_names_of_their_own(toy):
    toy.hidden(toy.root / "more", "wider", dim=20)
    plain = two(toy)
    plain["data"]["corpora"][1]["labels"] = {"wide": str(toy.root / "wider")}
    plain["objective"] = [KL, STATES, {**STATES, "signal": "wide", "projection": "linear"}]
    inputs = opened(toy, **plain)
    sums, counts = sums_of(inputs, alone(inputs, [3, 41, 17]), build_student(inputs))
    tokens = [inputs.corpora.lengths(np.array(rows)).sum() for rows in ([3, 17], [41])]
    assert counts[1:].tolist() == tokens and (sums > 0).all()


def test_run_with_another_exponent_is_refused_with_what_differs(toy, tmp_path):
    plain = two(toy)
    run = RunDirectory(tmp_path / "run")
    for exponent in (0.5, 0.75):
        plain["data"]["sampling_exponent"] = exponent
        inputs = opened(toy, **plain)
        config = yaml_file.to_plain(inputs.recipe)
        if exponent == 0.5:
            run.take(config)
            state = inputs.source(World(), ()).state(14)
    with pytest.raises(UsageError, match=r"other settings: .*sampling_exponent.* 0\.5.* 0\.75"):
        run.take(config)
    with pytest.raises(
        UsageError, match="mode is 'full, mixture .* in the checkpoint and 'full, m"
    ):
        inputs.source(World(), ()).check_state(state)


def test_plan_names_every_corpus_and_its_epochs(toy):
    inputs = opened(toy, **two(toy))
    objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
    source = inputs.source(World(), objective.lists)
    lines = plan_lines(inputs, source, World(), student=build_student(inputs), promise="none")
    data = [line[10:] for line in lines if line.startswith("data ")]
    assert data[0].startswith("a: 40 rows of up to 16 tokens, top (sparse, masked, ")
    assert data[1].startswith("b: 25 rows of up to 16 tokens, states (hidden of layer 2, all, ")
    (steps,) = (line for line in lines if line.startswith("steps "))
    assert "6 = 42 rows = epochs: 0.62 of a, 0.68 of b; " in steps


def test_shares_of_an_epoch_follow_the_exponent(toy):
    plain = two(toy)
    for exponent, share in ((None, 40 / 65), (1, 40 / 65), (0, 0.5), (0.5, 0.5585)):
        plain["data"]["sampling_exponent"] = exponent
        order = opened(toy, **plain).order
        rows = order.batch_rows(0, 650).rows
        assert abs((rows < 40).mean() - share) < 2 / 650
        own = rows[rows >= 40][:25] - 40
        assert sorted(own) == list(range(25))
