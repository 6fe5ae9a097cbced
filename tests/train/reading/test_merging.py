"""Rows of unlike kinds and families as one set of rows, against a row-by-row construction."""

import math
from typing import get_args

import numpy as np
import pytest

from limbeck.config import UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import UNKNOWN, ExampleKind, check_examples, kind_layout
from tests.train.kinds import write_kind
from train.reading.batch import FamilyArrays
from train.reading.merging import Part, joined, merged_examples, merged_fields, widest
from train.reading.mixture import Corpora, CorpusInputs

KINDS = (
    *("clm", "classification", "multi-label", "regression", "tagging", "qa", "unmasked-pairs"),
)


def opened(*directories):
    return Corpora(
        tuple(
            CorpusInputs(name=path.name, examples=open_dataset(path, kind="examples"))
            for path in directories
        )
    )


@pytest.fixture(scope="module")
def all_kinds(shared_toy):
    return opened(
        shared_toy.root / "examples",
        *(write_kind(shared_toy, kind, seq_length=16 - n) for n, kind in enumerate(KINDS)),
    )


def test_every_field_of_every_kind_has_an_unknown_value():
    for kind in get_args(ExampleKind):
        masks = 4 if kind in ("pairs", "mlm", "lines") else None
        layout = kind_layout(kind, seq_length=8, vocab_size=9, max_predictions=masks, num_labels=2)
        names = {*layout.names} - {"key", "num_tokens", "segment_split"}
        assert names <= set(UNKNOWN)


def test_merged_rows_carry_their_own_fields_and_unknown_ones_elsewhere(all_kinds):
    rng = np.random.default_rng(0)
    rows = rng.permutation(all_kinds.num_rows)[:60]
    found = all_kinds.read(rows).examples
    check_examples(found, vocab_size=50, num_labels=3)
    starts = all_kinds.starts
    for place, row in enumerate(rows.tolist()):
        number = int(found["corpus"][place])
        part = all_kinds.parts[number].examples
        assert starts[number] <= row < starts[number + 1]
        own = part.read([row - starts[number]])
        for name, values in found.items():
            if name == "corpus":
                continue
            value = values[place]
            if name in own:
                known = np.atleast_1d(own[name][0])
                np.testing.assert_array_equal(np.atleast_1d(value)[: len(known)], known)
                rest = np.atleast_1d(value)[len(known) :]
            else:
                rest = np.atleast_1d(value)
            unknown = UNKNOWN.get(name, 0)
            assert np.isnan(rest).all() if math.isnan(unknown) else (rest == unknown).all()


def test_slice_of_one_corpus_has_the_fields_and_widths_of_all(all_kinds):
    shapes = set()
    for start, stop in zip(all_kinds.starts[:-1], all_kinds.starts[1:], strict=True):
        found = all_kinds.read(np.arange(start, stop)[:3]).examples
        shapes.add(tuple((name, value.dtype.str, value.shape[1:]) for name, value in found.items()))
    assert len(shapes) == 1
    assert all_kinds.read(np.array([], np.int64)).examples["tags"].shape == (0, 16)


def test_one_corpus_without_a_name_is_read_as_it_is(shared_toy):
    examples = open_dataset(shared_toy.root / "examples", kind="examples")
    alone = Corpora((CorpusInputs(name="", examples=examples),)).read(np.arange(5)).examples
    named = Corpora((CorpusInputs(name="a", examples=examples),)).read(np.arange(5)).examples
    assert set(named) - set(alone) == {"corpus"}
    for name, values in alone.items():
        np.testing.assert_array_equal(values, named[name])
        np.testing.assert_array_equal(values, examples.read(np.arange(5))[name])
        assert values.dtype == named[name].dtype


def test_flags_of_other_labels_are_refused(toy):
    paths = [write_kind(toy, "multi-label", f"c{n}", num_labels=n) for n in (3, 2)]
    with pytest.raises(UsageError, match="c2: class_flags has 2 values a row, .* corpus 3"):
        merged_fields([open_dataset(path) for path in paths])


def test_wider_ids_decide_the_type():
    fields = {"ids": np.full((1, 2), 7, np.uint16), "num_tokens": np.array([2])}
    layouts = [kind_layout("clm", seq_length=n, vocab_size=v) for n, v in ((2, 9), (3, 99_999))]

    class Stub:
        directory = "x"

        def __init__(self, layout):
            self.layout = layout

    both = merged_fields([Stub(layout) for layout in layouts])
    part = Part(corpus=1, targets=np.array([0]), examples=fields, families={})
    merged = merged_examples([part], both)
    assert merged["ids"].dtype == np.uint32
    assert merged["ids"].tolist() == [[7, 7, 0]] and merged["corpus"].tolist() == [1]


def test_attention_over_fewer_tokens_is_filled_up_with_zeros():
    def family(num_positions, slots):
        values = 1 + np.arange(num_positions * 2 * slots, dtype=np.float32)
        fields = {"probabilities": values.reshape(-1, 2, slots)}
        return FamilyArrays(group="all", counts=np.array([num_positions]), fields=fields)

    empty = widest([family(0, 3), family(0, 5)], is_partial=True)
    assert empty.fields["probabilities"].shape == (0, 2, 5) and empty.is_partial
    families = [family(2, 3), family(1, 5)]
    parts = [
        Part(corpus=i, targets=np.array([1 - i]), examples={}, families={"f": family})
        for i, family in enumerate(families)
    ]
    found = joined("f", parts, empty)
    assert found.counts.tolist() == [1, 2] and found.row_starts.tolist() == [2, 0]
    whole = found.fields["probabilities"]
    np.testing.assert_array_equal(whole[:2, :, :3], families[0].fields["probabilities"])
    np.testing.assert_array_equal(whole[2:], families[1].fields["probabilities"])
    assert not whole[:2, :, 3:].any()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_joined_family_gives_each_row_its_own_positions(order):
    """Row r of the slice holds r, r + 0.1, ...; rows of the second part have no such family."""
    rng = np.random.default_rng(5)
    rows = rng.permutation(12)
    targets = np.split(rows, [5, 8])
    counts = rng.integers(0, 4, 12)
    parts = []
    for number in order:
        mine = targets[number]
        values = np.concatenate(
            [mine[i] + np.arange(counts[mine[i]]) / 10 for i in range(len(mine))]
        )
        arrays = FamilyArrays(
            group="all", counts=counts[mine], fields={"x": values.astype(np.float32)}
        )
        families = {} if number == 1 else {"f": arrays}
        parts.append(Part(corpus=number, targets=mine, examples={}, families=families))
    empty = FamilyArrays(
        group="all",
        counts=np.zeros(0, np.int64),
        fields={"x": np.zeros(0, np.float32)},
        is_partial=True,
    )
    found = joined("f", parts, empty)
    assert found.is_partial and found.fields["x"].dtype == np.float32
    for row in range(12):
        start, count = found.row_starts[row], found.counts[row]
        expected = counts[row] if row not in targets[1] else 0
        assert count == expected
        np.testing.assert_array_equal(
            found.fields["x"][start : start + count],
            (row + np.arange(expected) / 10).astype(np.float32),
        )
    absent = joined("f", parts[1:2] if order[1] == 1 else parts[2:], empty)
    assert len(absent.fields["x"]) == int(absent.counts.sum())
