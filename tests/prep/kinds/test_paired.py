import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.records.examples import check_examples
from limbeck.records.keys import split_key
from prep.kinds.maker import make_maker
from prep.kinds.settings import ExampleSettings

GOLDEN_ROWS = 6
GOLDEN_SHA256 = "46d1167082474c8c7002a7e4db378eb3b420ee183ba4f9dd8dd721fac3fda241"
SMALL = {"max_seq_length": 32, "max_predictions_per_seq": 5, "dupe_factor": 2, "seed": 7}


@pytest.fixture(scope="session")
def build(toy, document):
    def build(lengths, *, page=5, family="bert", start=1, **options):
        how = ExampleSettings(**{**SMALL, **options})
        maker = make_maker(
            how,
            toy(family),
            partner=lambda row, value: document(value % 50 + 60, [4, 6, 2]).sentences,
        )
        made_of = document(start, lengths)
        key = document(page, []).key
        return maker.make([type(made_of)(row=page, key=key, sentences=made_of.sentences)])

    return build


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    max_seq_length=st.integers(6, 80),
    max_predictions=st.integers(1, 30),
    family=st.sampled_from(["bert", "roberta"]),
    masking=st.sampled_from(["token", "whole-word", "span", "ngram"]),
)
def test_pairs_of_any_document_are_well_formed(
    build, columns, unmasked, toy, lengths, max_seq_length, max_predictions, family, masking
):
    special = toy(family).special
    max_predictions = min(max_predictions, max_seq_length)
    rows = build(
        lengths,
        family=family,
        masking=masking,
        max_seq_length=max_seq_length,
        max_predictions_per_seq=max_predictions,
    ).rows
    check_examples(columns(rows), vocab_size=5000)
    for row in rows:
        key = split_key(row["key"])
        assert key.page == 5 and key.duplicate in (0, 1)
        ids, masked, split = unmasked(row), int(row["num_masked"]), int(row["segment_split"])
        num_tokens = len(ids)
        at = np.flatnonzero(ids == special.sep)
        assert ids[0] == special.cls and ids[-1] == special.sep
        if family == "bert":  # [CLS] A [SEP] B [SEP]
            assert at.tolist() == [split - 1, num_tokens - 1]
        else:  # <s> A </s></s> B </s>, one segment
            assert split == num_tokens and len(at) == 3 and at[1] == at[0] + 1
        wanted = min(max_predictions, max(1, round(0.15 * num_tokens)), num_tokens - 1 - len(at))
        assert masked == wanted if masking == "token" else masked <= wanted
        assert not {0, *at.tolist()} & set(row["mask_positions"][:masked].tolist())
        assert row["is_random_next"] in (0, 1)


def test_passes_over_a_document_differ(build):
    rows = build([8] * 30).rows
    duplicates = np.array([split_key(key).duplicate for key in rows["key"]])
    first, second = (rows["ids"][duplicates == n] for n in (0, 1))
    assert first.tobytes() != second.tobytes()


def test_pairs_of_a_page_depend_on_the_page_alone(build):
    assert build([8] * 9).rows.tobytes() == build([8] * 9).rows.tobytes()
    assert build([8] * 9).rows.tobytes() != build([8] * 9, page=6).rows.tobytes()


def test_document_without_tokens_is_filtered(build):
    made = build([])
    assert len(made.rows) == 0 and list(made.filters) == ["no_tokens"]
    assert list(build([3]).filters) == [""]


def test_golden_bytes_freeze_bert_pairs_and_masks(build):
    # A change here changes every prepared dataset: raise the recipe in prep/kinds/settings.py.
    rows = build([9, 3, 14, 6, 30, 2, 8]).rows
    assert len(rows) == GOLDEN_ROWS
    assert hashlib.sha256(rows.tobytes()).hexdigest() == GOLDEN_SHA256


def test_unmasked_pairs_are_the_same_pairs_without_masks(build, unmasked):
    masked = build([9, 3, 14, 6, 30, 2, 8]).rows
    plain = build([9, 3, 14, 6, 30, 2, 8], kind="unmasked-pairs", max_predictions_per_seq=20).rows
    assert "num_masked" not in plain.dtype.names
    for one, other in zip(masked, plain, strict=True):
        assert unmasked(one).tolist() == unmasked(other).tolist()
        for name in ("key", "segment_split", "is_random_next"):
            assert one[name].tolist() == other[name].tolist()


def test_next_segments_hold_every_token_once_and_have_no_label(build, document, unmasked):
    rows = build(
        [5, 4, 9, 2, 11, 7],
        kind="unmasked-pairs",
        second_segment="next",
        max_predictions_per_seq=20,
        short_seq_prob=0.0,
        dupe_factor=1,
        max_seq_length=64,
    ).rows
    assert set(rows["is_random_next"].tolist()) == {255}
    found = [t for row in rows for t in unmasked(row).tolist() if t >= 1000]
    assert found == [t for s in document(1, [5, 4, 9, 2, 11, 7]).sentences for t in s]


def test_lone_sentence_without_partners_stands_alone(build):
    [row] = build(
        [5],
        kind="unmasked-pairs",
        second_segment="next",
        max_predictions_per_seq=20,
        dupe_factor=1,
    ).rows
    assert row["num_tokens"] == row["segment_split"] == 7


@pytest.mark.parametrize("masking", ["token", "whole-word"])
def test_interleaved_maskings_label_every_token_of_a_pair_once(build, unmasked, masking):
    rows = build([9, 3, 14, 6, 30, 2, 8], interleaved=True, masking=masking, dupe_factor=7).rows
    by_sequence = {}
    for row in rows:
        by_sequence.setdefault(split_key(row["key"]).sequence, []).append(row)
    assert len(by_sequence) > 2
    for group in by_sequence.values():
        truths = {unmasked(row).tobytes() for row in group}
        assert len(truths) == 1  # one text, many masks
        ids = unmasked(group[0])
        places = [p for row in group for p in row["mask_positions"][: int(row["num_masked"])]]
        assert sorted(places) == np.flatnonzero(ids >= 1000).tolist()


def test_partners_are_needed_for_random_next(toy):
    with pytest.raises(ValueError, match="pairs examples need partners"):
        make_maker(ExampleSettings(), toy("bert"))
