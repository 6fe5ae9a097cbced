"""Families that label some of their examples' rows."""

import dataclasses

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records import (
    DIGEST,
    KEY,
    DatasetWriter,
    Field,
    Layout,
    check_rows_match,
    chosen,
    input_digest,
    open_dataset,
    shards_of,
)
from limbeck.records.keys import row_order
from limbeck.records.manifest import MANIFEST
from limbeck.records.show import summary_lines
from limbeck.records.verify import verify, verify_digests

LAYOUT = Layout((KEY, DIGEST, Field("state", "float32", (2,))))


def write_partial(directory, examples, *, wanted):
    """Labels the rows of `examples` where `wanted` (N,) is set."""
    rows = examples.read(np.arange(examples.num_rows))
    digest = input_digest(rows["ids"], rows["num_tokens"], rows["segment_split"])
    state = np.arange(2 * len(wanted), dtype=np.float32).reshape(-1, 2)
    writer = DatasetWriter(
        str(directory),
        name="some",
        kind="labels",
        layout=LAYOUT,
        num_shards=len(examples.shards),
        settings={"records": 0.5},
        parents={"examples": examples.id},
    )
    writer.open()
    for number, shard in enumerate(examples.shards):
        here = np.arange(shard.first_row, shard.first_row + shard.summary.records)
        mine = here[wanted[here]]
        columns = {"key": rows["key"][mine], "digest": digest[mine], "state": state[mine]}
        writer.write_shard(
            number,
            columns,
            lengths=rows["num_tokens"][mine],
            parent_rows=mine - shard.first_row,
            parent_records=shard.summary.records,
        )
    writer.finish()
    return writer


@pytest.fixture
def examples(tools, tmp_path):
    tools.write_examples(tmp_path / "examples", 200, num_shards=3)
    with open_dataset(tmp_path / "examples") as dataset:
        yield dataset


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_partial_family_finds_the_rows_it_has(examples, tmp_path, fraction):
    wanted = np.random.default_rng(0).random(examples.num_rows) < fraction
    write_partial(tmp_path / "some", examples, wanted=wanted)
    assert verify(str(tmp_path / "some")) == ()
    with open_dataset(tmp_path / "some") as family:
        assert family.is_partial and family.num_rows == wanted.sum()
        check_rows_match(examples, family)
        verify_digests(examples, family)
        own = family.find(np.arange(examples.num_rows))
        assert ((own >= 0) == wanted).all()
        assert family.parent_rows().tolist() == np.flatnonzero(wanted).tolist()
        backwards = np.flatnonzero(wanted)[::-1]
        found = family.read(family.find(backwards))
        assert (found["state"][:, 0] == 2 * backwards).all()
        assert (found["key"] == examples.keys(backwards)).all()
        with pytest.raises(IndexError, match="has 200"):
            family.find([200])
        expected = f"{wanted.sum()} of the 200 rows"
        assert any(expected in line for line in summary_lines(family))


def test_full_family_finds_every_row_at_its_own_number(masters):
    with open_dataset(masters / "labels") as family:
        assert not family.is_partial
        assert family.find([3, 0, 3]).tolist() == [3, 0, 3]
        assert family.parent_rows().tolist() == list(range(family.num_rows))


def test_partial_family_of_other_rows_is_refused(examples, tools, tmp_path):
    write_partial(tmp_path / "some", examples, wanted=np.arange(200) % 2 == 0)
    tools.write_examples(tmp_path / "fewer", 190, num_shards=3)
    with open_dataset(tmp_path / "some") as family, open_dataset(tmp_path / "fewer") as fewer:
        with pytest.raises(UsageError, match="made from examples"):
            check_rows_match(fewer, family)
        parents = {"examples": fewer.id}
        content = dataclasses.replace(family.content, parents=parents)
        family.manifest = dataclasses.replace(family.manifest, content=content)
        with pytest.raises(UsageError, match="labels some of .* rows and"):
            check_rows_match(fewer, family)


def test_rows_of_the_parent_that_have_other_keys_are_refused(examples, tmp_path):
    rows = examples.read(np.arange(examples.shards[0].summary.records))
    columns = {name: rows[name][:5] for name in ("key",)}
    columns |= {"digest": rows["key"][:5, :8], "state": np.zeros((5, 2), np.float32)}
    writer = DatasetWriter(
        str(tmp_path / "some"),
        name="some",
        kind="labels",
        layout=LAYOUT,
        num_shards=3,
        settings={},
        parents={"examples": examples.id},
    )
    writer.open()
    records = [shard.summary.records for shard in examples.shards]
    writer.write_shard(0, columns, parent_rows=[1, 2, 3, 4, 5], parent_records=records[0])
    none = {name: values[:0] for name, values in columns.items()}
    for number in (1, 2):
        writer.write_shard(number, none, parent_rows=[], parent_records=records[number])
    writer.finish()
    with (
        open_dataset(tmp_path / "some") as family,
        pytest.raises(UsageError, match="row 0 of .* has key .* and row 1 of"),
    ):
        check_rows_match(examples, family)


@pytest.mark.parametrize(
    "parent, reason",
    [
        ({"parent_rows": [0]}, "go together"),
        ({"parent_rows": [0, 1], "parent_records": 9}, "rows and 2 rows of the parent"),
        ({"parent_rows": [9], "parent_records": 9}, "not rows of a shard of 9"),
    ],
)
def test_parent_rows_that_do_not_fit_the_rows_are_refused(tools, tmp_path, parent, reason):
    writer = tools.examples_writer(tmp_path / "out")
    writer.open()
    rows = tools.example_rows(12)
    mine = {name: values[shards_of(rows["key"], 2) == 0] for name, values in rows.items()}
    with pytest.raises(ValueError, match=reason):
        writer.write_shard(0, mine, **parent)
    assert not writer.has_shard(0)


def test_family_with_full_and_partial_shards_is_refused(tools, tmp_path):
    writer = tools.examples_writer(tmp_path / "out")
    writer.open()
    rows = tools.example_rows(12)
    shards = shards_of(rows["key"], 2)
    for number in range(2):
        mine = {name: values[shards == number] for name, values in rows.items()}
        count = len(mine["key"])
        parent = {"parent_rows": np.arange(count), "parent_records": count} if number else {}
        writer.write_shard(number, mine, **parent)
    writer.finish()
    assert (tmp_path / "out" / MANIFEST).exists()
    with pytest.raises(LimbeckError, match="some indexes say which rows"):
        open_dataset(tmp_path / "out")


def test_chosen_rows_depend_on_seed_and_key_alone(tools):
    keys = tools.example_rows(4000)["key"]
    order = row_order(keys)
    half = chosen(keys, 0.5, 7)
    assert (chosen(keys[order], 0.5, 7) == half[order]).all()
    assert (half >= chosen(keys, 0.2, 7)).all()  # a smaller fraction is part of a larger one
    assert chosen(keys, 1.0, 7).all()
    assert (chosen(keys, 0.5, 8) != half).any()
    # Four standard deviations of a binomial share, in all and in every shard.
    assert abs(half.mean() - 0.5) < 4 * 0.5 / len(keys) ** 0.5
    for number in range(4):
        here = half[shards_of(keys, 4) == number]
        assert abs(here.mean() - 0.5) < 4 * 0.5 / len(here) ** 0.5
    for fraction in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            chosen(keys, fraction, 7)


def test_golden_choice_never_changes(tools):
    found = np.flatnonzero(chosen(tools.example_rows(40)["key"], 0.25, 3)).tolist()
    assert found == [4, 5, 17, 18, 19, 21, 25, 27, 28, 30]
