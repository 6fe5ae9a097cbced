"""Masks made while training: keyed, in proportion, and refused where labels depend on them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError, yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.objective import bind
from train.reading.masking import Masker, mask_rows
from train.recipe import DynamicMasking, Recipe
from train.stream import Stream
from train.students.forward import forward
from train.students.student import build_student

V, MASK, SPECIAL = 1000, 4, (0, 2, 3, 4)


def masker(**settings):
    return Masker(
        settings=DynamicMasking(tokenizer="-", **settings),
        seed=1,
        mask_id=MASK,
        special_ids=SPECIAL,
        vocab_size=V,
        max_predictions=10,
    )


def rows(n=400, slots=64):
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, slots + 1, n)
    ids = rng.integers(5, V, (n, slots)).astype(np.uint16)
    ids[:, 0] = 2
    ids[np.arange(n), tokens - 1] = 3
    ids[np.arange(slots) >= tokens[:, None]] = 0
    keys = rng.integers(0, 256, (n, 16)).astype(np.uint8)
    return {"key": keys, "ids": ids, "num_tokens": tokens.astype(np.uint16)}


def test_masked_rows_keep_the_rules():
    examples = rows()
    found = mask_rows(examples, np.zeros(400, np.int64), masker())
    tokens, count = examples["num_tokens"].astype(int), found["num_masked"].astype(int)
    wanted = np.minimum(10, np.maximum(1, np.rint(0.15 * tokens))).astype(int)
    np.testing.assert_array_equal(count, np.minimum(wanted, tokens - 2))
    for row in range(400):
        places = found["mask_positions"][row, : count[row]].astype(int)
        assert (np.diff(places) > 0).all()
        assert not np.isin(examples["ids"][row, places], SPECIAL).any()
        np.testing.assert_array_equal(
            found["mask_ids"][row, : count[row]], examples["ids"][row, places]
        )
        back = found["ids"][row].copy()
        back[places] = found["mask_ids"][row, : count[row]]
        np.testing.assert_array_equal(back, examples["ids"][row])
        assert not found["mask_positions"][row, count[row] :].any()


def test_shares_are_those_asked_for():
    """2,400 chosen tokens: 0.8, 0.1 and 0.1 within 4 standard errors; places are uniform."""
    examples = rows()
    found = mask_rows(examples, np.zeros(400, np.int64), masker())
    used = np.arange(10) < found["num_masked"][:, None]
    at, slot = np.nonzero(used)
    new = found["ids"][at, found["mask_positions"][at, slot]]
    old = found["mask_ids"][at, slot]
    n = len(new)
    for share, expected in (((new == MASK).mean(), 0.8), ((new == old).mean(), 0.1)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    # Where in the row, as a share of its length: the mean of a uniform law.
    where = found["mask_positions"][at, slot] / examples["num_tokens"][at]
    assert abs(where.mean() - 0.5) < 4 * np.sqrt(1 / 12 / n) + 0.01


def test_masks_belong_to_seed_epoch_and_key_alone():
    examples, epochs = rows(50), np.arange(50) % 3
    whole = mask_rows(examples, epochs, masker())
    order = np.random.default_rng(1).permutation(50)
    shuffled = mask_rows({k: v[order] for k, v in examples.items()}, epochs[order], masker())
    alone = mask_rows({k: v[7:8] for k, v in examples.items()}, epochs[7:8], masker())
    for name in ("ids", "mask_positions", "mask_ids", "num_masked"):
        np.testing.assert_array_equal(shuffled[name], whole[name][order])
        np.testing.assert_array_equal(alone[name], whole[name][7:8])
    next_epoch = mask_rows(examples, epochs + 1, masker())
    other_seed = mask_rows(examples, epochs, dataclasses.replace(masker(), seed=2))
    for other in (next_epoch, other_seed):
        assert (other["ids"] != whole["ids"]).any(1).mean() > 0.8


def test_golden_mask_holds():
    """A resumed run must draw what the run before it drew: these numbers may never change."""
    examples = {
        "key": np.arange(16, dtype=np.uint8)[None],
        "ids": np.arange(10, 30, dtype=np.uint16)[None],
        "num_tokens": np.array([20], np.uint16),
    }
    found = mask_rows(examples, np.array([3]), masker())
    assert found["mask_positions"][0, :3].tolist() == GOLDEN_POSITIONS
    assert found["ids"][0, GOLDEN_POSITIONS].tolist() == GOLDEN_IDS


GOLDEN_POSITIONS, GOLDEN_IDS = [1, 9, 13], [4, 4, 23]


def test_rows_with_nothing_to_mask_have_no_masks():
    examples = {
        "key": np.zeros((1, 16), np.uint8),
        "ids": np.array([[2, 3, 0, 0]], np.uint16),
        "num_tokens": np.array([2], np.uint16),
    }
    found = mask_rows(examples, np.zeros(1, np.int64), masker())
    assert found["num_masked"].tolist() == [0]
    np.testing.assert_array_equal(found["ids"], examples["ids"])


@pytest.fixture
def unmasked(toy):
    toy.examples("plain", masked=False)
    return toy


def data(toy, **more):
    settings = {"tokenizer": str(toy.tokenizer())}
    return {"examples": str(toy.root / "plain"), "masking": settings, **more}


def opened(toy, **changes):
    return open_inputs(yaml_file.from_plain(Recipe, toy.recipe(**changes), "recipe"))


def test_every_world_size_and_a_resume_draw_the_same_masks(unmasked):
    inputs = opened(unmasked, data=data(unmasked))

    def fed(world, position, num_batches):
        source = inputs.source(world, ("masked",))
        with Stream(source, position=position, num_batches=num_batches) as stream:
            return list(stream)

    def content(batches):
        return [
            np.concatenate(
                [
                    m["labels"]["masked"][m["items"]["masked"]["valid"]]
                    for b in step
                    for m in b.micro
                ]
            ).tolist()
            for step in batches
        ]

    whole = [[batch] for batch in fed(World(), 0, 14)]
    ranks = [fed(World(rank=r, size=3), 0, 14) for r in range(3)]
    assert content(zip(*ranks, strict=True)) == content(whole)
    resumed = [[batch] for batch in fed(World(), whole[9][0].position, 5)]
    assert content(resumed) == content(whole[9:])
    # 40 rows: the second visit of a row has a mask of its own.
    visits = {}
    for (batch,) in whole:
        for place, row in enumerate(batch.rows.tolist()):
            visits.setdefault(row, []).append(batch.micro[0]["ids"][place].tobytes())
    again = [len(set(seen)) > 1 for seen in visits.values() if len(seen) > 1]
    assert len(again) == 40 and np.mean(again) > 0.7


def test_labels_masked_examples_and_other_tokenizers_are_refused(unmasked):
    unmasked.hidden(unmasked.root / "plain")
    labels = {"states": str(unmasked.root / "states")}
    objective = [{"loss": "hidden_cosine", "signal": "states", "student_layer": 1}]
    with pytest.raises(UsageError, match="masking has no effect: stored labels belong to the unm"):
        opened(unmasked, data=data(unmasked, labels=labels), objective=objective)
    stored = str(unmasked.examples("stored"))
    with pytest.raises(UsageError, match="masked already; leave data.masking out"):
        opened(unmasked, data={**data(unmasked), "examples": stored})
    other = unmasked.root / "other.txt"
    other.write_text((unmasked.root / "vocab.txt").read_text().replace("a7", "b7"))
    with pytest.raises(UsageError, match="equal ids would mean other words"):
        opened(unmasked, data=data(unmasked, masking={"tokenizer": str(other)}))
    with pytest.raises(UsageError, match=r"no masked positions, and the objective \(without"):
        opened(unmasked, data={"examples": str(unmasked.root / "plain")})


def test_unmasked_examples_serve_families_of_unmasked_input(unmasked):
    examples = unmasked.root / "plain"
    unmasked.hidden(examples)
    term = {"loss": "hidden_mse", "signal": "states", "student_layer": 1, "projection": "linear"}
    labels = {"states": str(unmasked.root / "states")}
    inputs = opened(unmasked, data={"examples": str(examples), "labels": labels}, objective=[term])
    source = inputs.source(World(), ("all",))
    batch = source.read(source.global_rows(0))
    assert batch.items["all"] == batch.num_tokens


def test_stored_labels_see_the_unmasked_input_and_hard_labels_the_masked_one(unmasked):
    unmasked.hidden(unmasked.root / "plain")
    states = {"states": str(unmasked.root / "states")}
    mlm = {"loss": "mlm"}
    match = {
        "loss": "hidden_mse",
        "signal": "states",
        "student_layer": 1,
        "projection": "linear",
    }
    blocks = {
        "both": {"data": data(unmasked, labels=states), "objective": [mlm, match]},
        "mlm": {"data": data(unmasked), "objective": [mlm]},
        "match": {
            "data": {"examples": str(unmasked.root / "plain"), "labels": states},
            "objective": [match],
        },
    }
    sums, seen = {}, {}
    for name, changes in blocks.items():
        inputs = opened(unmasked, **changes)
        objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
        source = inputs.source(World(), objective.lists)
        (batch,) = source.read(source.global_rows(0)).micro
        student = build_student(inputs)
        outputs = forward(
            student, tf.nest.map_structure(tf.constant, batch), objective, dropout=None
        )
        found = objective.sums(
            outputs, tf.nest.map_structure(tf.constant, batch), student.projections
        )
        sums[name], seen[name] = found.numpy(), batch
    assert (seen["both"]["ids"] != seen["both"]["unmasked_ids"]).any()
    assert (seen["both"]["unmasked_ids"] == seen["match"]["ids"]).all()
    assert (seen["both"]["ids"] == seen["mlm"]["ids"]).all()
    assert sums["both"][0] == sums["mlm"][0]
    assert np.isfinite(sums["both"][1]) and sums["both"][1] > 0


def test_the_second_pass_alone_moves_the_matched_term(unmasked):
    unmasked.hidden(unmasked.root / "plain", dim=8)
    states = {"states": str(unmasked.root / "states")}
    match = {"loss": "hidden_mse", "signal": "states", "student_layer": 1}
    values = []
    for masking in (0.15, 0.6):
        settings = {"tokenizer": str(unmasked.tokenizer()), "rate": masking}
        inputs = opened(
            unmasked,
            data=data(unmasked, labels=states, masking=settings),
            objective=[{"loss": "mlm"}, match],
        )
        objective = bind(inputs.recipe.objective, inputs.families, inputs.student)
        source = inputs.source(World(), objective.lists)
        batch = tf.nest.map_structure(tf.constant, source.read(source.global_rows(0)).micro[0])
        outputs = forward(build_student(inputs), batch, objective, dropout=None)
        values.append(objective.sums(outputs, batch, {}).numpy())
    assert values[0][0] != values[1][0] and values[0][1] == values[1][1]
