import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.records.examples import check_examples
from limbeck.records.keys import split_key
from prep.kinds.maker import make_maker
from prep.kinds.packed import pack
from prep.kinds.settings import ExampleSettings

LENGTHS = st.lists(st.lists(st.integers(1, 30), max_size=8), min_size=1, max_size=6)


@pytest.fixture(scope="session")
def documents(document):
    return lambda lengths: [document(page, sizes) for page, sizes in enumerate(lengths, start=1)]


def tokens_of(documents):
    return [t for document in documents for sentence in document.sentences for t in sentence]


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, room=st.integers(1, 40))
def test_packing_keeps_every_token_in_order_and_no_row_is_too_long(documents, lengths, room):
    made_of = documents(lengths)
    rows = list(pack(made_of, room=room))
    assert [t for row in rows for part in row.parts for t in part] == tokens_of(made_of)
    for row in rows:
        assert 1 <= sum(map(len, row.parts)) + len(row.parts) - 1 <= room
        assert all(row.parts)


def test_row_takes_sentences_while_they_fit(documents):
    rows = list(pack(documents([[4, 3, 5, 2], [1, 9]]), room=10))
    # 4 + 3, then 5 + 2 and a separator and 1, then 9.
    assert [[len(part) for part in row.parts] for row in rows] == [[7], [7, 1], [9]]
    assert [row.document for row in rows] == [0, 0, 1]


def test_separator_that_does_not_fit_closes_the_row(documents):
    rows = list(pack(documents([[4], [1]]), room=5))
    assert [[len(part) for part in row.parts] for row in rows] == [[4], [1]]
    assert [len(row.parts) for row in pack(documents([[4], [1]]), room=6)] == [2]


def test_sentence_longer_than_a_row_is_cut_into_rows(documents):
    rows = list(pack(documents([[2, 25, 3]]), room=10))
    assert [[len(part) for part in row.parts] for row in rows] == [[2], [10], [10], [8]]


@settings(max_examples=60, deadline=None)
@given(
    lengths=LENGTHS,
    seq_length=st.integers(3, 40),
    family=st.sampled_from(["bert", "roberta"]),
    masking=st.sampled_from(["token", "whole-word", "span", "ngram"]),
)
def test_masked_rows_hold_every_token_once_a_pass(
    toy, documents, columns, unmasked, lengths, seq_length, family, masking
):
    made_of = documents(lengths)
    how = ExampleSettings(
        kind="mlm",
        max_seq_length=seq_length,
        max_predictions_per_seq=3,
        dupe_factor=2,
        masking=masking,
    )
    made = make_maker(how, toy(family)).make(made_of)
    check_examples(columns(made.rows), vocab_size=5000)
    special = toy(family).special
    keys = [split_key(key) for key in made.rows["key"]]
    assert len({(k.page, k.duplicate, k.sequence) for k in keys}) == len(keys)
    for duplicate in (0, 1):
        found = []
        for row, key in zip(made.rows, keys, strict=True):
            if key.duplicate == duplicate:
                ids = unmasked(row)
                assert ids[0] == special.cls and ids[-1] == special.sep
                assert row["segment_split"] == row["num_tokens"]
                found += [t for t in ids.tolist() if t >= 1000]
        assert found == tokens_of(made_of)
    assert list(made.filters) == ["" if sizes else "no_tokens" for sizes in lengths]


def test_row_bears_the_key_of_the_document_it_starts_in(toy, documents):
    how = ExampleSettings(kind="mlm", max_seq_length=12, max_predictions_per_seq=2, dupe_factor=1)
    rows = make_maker(how, toy("bert")).make(documents([[4, 3, 5, 2], [1, 9]])).rows
    keys = [split_key(key) for key in rows["key"]]
    assert [(k.page, k.sequence) for k in keys] == [(1, 0), (1, 1), (2, 0)]


def test_every_maskable_token_is_labelled_once_over_interleaved_passes(toy, documents, unmasked):
    made_of = documents([[9, 3, 14], [6, 30, 2, 8]])
    how = ExampleSettings(
        kind="mlm",
        max_seq_length=32,
        max_predictions_per_seq=5,
        dupe_factor=7,
        interleaved=True,
        masking="whole-word",
    )
    rows = make_maker(how, toy("bert")).make(made_of).rows
    labelled = {}
    for row in rows:
        key = split_key(row["key"])
        places = row["mask_positions"][: int(row["num_masked"])].tolist()
        seen = labelled.setdefault((key.page, key.sequence), [unmasked(row), []])
        assert seen[0].tolist() == unmasked(row).tolist()
        seen[1] += places
    for ids, places in labelled.values():
        assert sorted(places) == np.flatnonzero(ids >= 1000).tolist()


def test_single_unmasked_sequences_have_no_next_sentence_label(toy, documents):
    how = ExampleSettings(kind="unmasked-pairs", second_segment="none", max_seq_length=16)
    rows = make_maker(how, toy("roberta")).make(documents([[5, 6, 7]])).rows
    assert rows.dtype.names == ("key", "ids", "num_tokens", "segment_split", "is_random_next")
    assert rows["is_random_next"].tolist() == [255, 255]
