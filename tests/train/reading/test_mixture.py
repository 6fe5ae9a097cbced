"""Several corpora, and families that label some rows only, from the recipe to the batch."""

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.order import StreamState
from limbeck.ranks import World
from train.inputs import open_inputs
from train.recipe import Recipe
from train.stream import Stream

KL = {"loss": "kl", "signal": "top"}


def opened(toy, **changes):
    return open_inputs(yaml_file.from_plain(Recipe, toy.recipe(**changes), "recipe"))


def feed(inputs, *, num_batches, position=0, world=None, groups=("masked",)):
    source = inputs.source(world or World(), groups)
    with Stream(source, position=position, num_batches=num_batches) as stream:
        return list(stream)


@pytest.fixture(scope="module")
def two(tmp_path_factory, shared_toy):
    """Corpora of 40 and 25 rows, the second with a family of about half of its rows."""
    shared_toy.examples("more", num_rows=25, seed=4, page=1000)
    shared_toy.sparse(shared_toy.root / "more", "more-top", records=0.5)
    return shared_toy


def mixture(toy, **weights):
    corpora = [
        {
            "name": name,
            "examples": str(toy.root / examples),
            "labels": {"top": str(toy.root / labels)},
            **({"weight": weights[name]} if name in weights else {}),
        }
        for name, examples, labels in (("a", "examples", "top"), ("b", "more", "more-top"))
    ]
    return {"data": {"examples": None, "corpora": corpora}, "objective": [KL, {"loss": "mlm"}]}


def test_corpora_end_their_epochs_together_and_keep_their_rows(two):
    inputs = opened(two, **mixture(two))
    assert inputs.num_rows == 65
    fed = np.concatenate([b.keys for b in feed(inputs, num_batches=10)])[:65]
    parts = [part.examples for part in inputs.corpora.parts]
    there = np.concatenate([part.keys(np.arange(part.num_rows)) for part in parts])
    assert sorted(map(bytes, fed)) == sorted(map(bytes, there))
    assert inputs.order.epochs_at(65) == {"a": 1.0, "b": 1.0}


def test_weights_decide_and_epochs_are_counted_for_each_corpus(two):
    inputs = opened(two, **mixture(two, a=0.2, b=0.8))
    rows = np.concatenate([b.rows for b in feed(inputs, num_batches=20)])
    assert np.count_nonzero(rows < 40) == 28
    assert inputs.order.epochs_at(140) == {"a": 28 / 40, "b": 112 / 25}
    assert sorted(rows[rows >= 40][:25].tolist()) == list(range(40, 65))


def test_resume_and_other_worlds_feed_the_same_mixture(two):
    inputs = opened(two, **mixture(two))
    whole = feed(inputs, num_batches=12)
    source = inputs.source(World(), ("masked",))
    for step in (0, 1, 5, 9, 11):
        state = StreamState.from_json(source.state(whole[step].position).to_json())
        source.check_state(state)
        parts = [
            feed(
                inputs,
                num_batches=12 - step,
                position=state.position,
                world=World(rank=rank, size=3),
            )
            for rank in range(3)
        ]
        for number, batch in enumerate(whole[step:]):
            together = np.concatenate([part[number].keys for part in parts])
            np.testing.assert_array_equal(together, batch.keys)
            assert len({part[number].length for part in parts}) == 1
    with pytest.raises(UsageError, match="mode is 'full, mixture"):
        opened(two, **mixture(two, a=1, b=1)).source(World(), ()).check_state(state)


@pytest.mark.parametrize("size", [1, 3])
def test_partial_family_counts_its_own_rows_and_decodes_the_right_ones(two, size):
    inputs = opened(two, **mixture(two))
    name = inputs.families["top"].list_name
    assert name == "masked of top"
    first, second = inputs.corpora.parts
    labelled = set(second.families["top"].dataset.parent_rows().tolist())
    assert 5 < len(labelled) < 20
    lists = ("masked", name)
    ranks = [
        feed(inputs, num_batches=10, world=World(rank=r, size=size), groups=lists)
        for r in range(size)
    ]
    seen = 0
    for number in range(10):
        batches = [rank[number] for rank in ranks]
        rows = np.concatenate([b.rows for b in batches])
        expected = []
        for row in rows.tolist():
            part, local = (first, row) if row < 40 else (second, row - 40)
            family = part.families["top"]
            if row >= 40 and local not in labelled:
                continue
            labels = family.dataset.read(family.dataset.find([local]))
            expected.append(labels["logits"][0, : int(labels["num_positions"][0])])
        micro = [m for b in batches for m in b.micro]
        got = [m["teacher"]["top"]["logits"][m["items"][name]["valid"]] for m in micro]
        np.testing.assert_array_equal(np.concatenate(got), np.concatenate(expected))
        count = sum(b.items[name] for b in batches)
        assert count == len(np.concatenate(expected))
        assert count <= sum(b.items["masked"] for b in batches)
        seen += count
    assert seen > 0


def test_partial_family_whose_row_is_of_another_masking_is_refused(toy):
    examples = toy.examples()

    def other_masking(fields):
        fields["digest"][::2] ^= 1

    toy.sparse(examples, records=0.5, spoil=other_masking)
    data = {"examples": str(examples), "labels": {"top": str(toy.root / "top")}}
    with pytest.raises(LimbeckError, match="another digest"):
        opened(toy, data=data, objective=[KL])


def test_corpora_that_differ_in_length_share_one_batch(two, tmp_path):
    """Rows of the shorter corpus are filled up as padding is."""
    from limbeck.records.dataset import open_dataset
    from limbeck.records.examples import examples_layout
    from limbeck.records.writer import DatasetWriter

    long = open_dataset(two.root / "more")
    rows = long.read(np.arange(25))
    short = rows["num_tokens"] <= 10
    fields = {name: values[short] for name, values in rows.items()}
    fields["ids"] = fields["ids"][:, :10]
    layout = examples_layout(seq_length=10, max_predictions=4, vocab_size=50)
    writer = DatasetWriter(
        str(tmp_path / "short"),
        name="toy",
        kind="examples",
        layout=layout,
        num_shards=1,
        settings={},
    )
    writer.open()
    writer.write_shard(0, fields, lengths=fields["num_tokens"])
    writer.finish()
    corpora = [
        {"name": "a", "examples": str(two.root / "examples")},
        {"name": "b", "examples": str(tmp_path / "short")},
    ]
    inputs = opened(two, data={"examples": None, "corpora": corpora})
    assert inputs.corpora.seq_length == 16
    for batch in feed(inputs, num_batches=8):
        (micro,) = batch.micro
        for place, row in enumerate(batch.rows.tolist()):
            part = inputs.corpora.parts[row >= 40]
            ids = part.examples.read([row if row < 40 else row - 40])["ids"][0][: batch.length]
            np.testing.assert_array_equal(micro["ids"][place][: len(ids)], ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order_boundary": "close"}, "close has no meaning for a mixture"),
        ({"order": "two_level", "order_block": 8, "order_window": 3}, None),
    ],
)
def test_orders_of_a_mixture(two, change, message):
    plain = {**mixture(two), "training": change}
    if message is None:
        assert opened(two, **plain).order.mode.startswith("two_level 8x3, mixture ")
    else:
        with pytest.raises(UsageError, match=message):
            opened(two, **plain)


def test_settings_that_contradict_each_other_are_refused(two):
    with pytest.raises(UsageError, match="give every corpus a weight, or none"):
        opened(two, **mixture(two, a=1))
    two.sparse(two.root / "more", "more-other", k=5)
    plain = mixture(two)
    plain["data"]["corpora"][1]["labels"] = {"top": str(two.root / "more-other")}
    with pytest.raises(UsageError, match="labels 'top': k is 6 in a and 5 in b"):
        opened(two, **plain)
