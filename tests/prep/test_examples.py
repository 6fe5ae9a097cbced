import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import UsageError
from limbeck.records.examples import check_examples
from limbeck.records.keys import make_key, split_key
from prep.examples import ExampleSettings, SpecialIds, build_examples, row_dtype

SPECIAL = SpecialIds(cls_id=101, sep_id=102, mask_id=103, vocab_size=5000)
GOLDEN_ROWS = 6
GOLDEN_SHA256 = "46d1167082474c8c7002a7e4db378eb3b420ee183ba4f9dd8dd721fac3fda241"
SMALL = ExampleSettings(max_seq_length=32, max_predictions_per_seq=5, dupe_factor=2, seed=7)


def document(number, lengths):
    start = 1000 + 100 * number
    sentences = []
    for length in lengths:
        sentences.append([(start + n) % 3000 + 1000 for n in range(length)])
        start += length
    return sentences


def build(sentences, *, duplicate=0, how=SMALL, page=5):
    return build_examples(
        sentences,
        document_key=make_key(corpus="enwiki", page=page),
        duplicate=duplicate,
        settings=how,
        special=SPECIAL,
        dtype=row_dtype(how.layout(SPECIAL.vocab_size)),
        partner=lambda value: document(value % 50 + 60, [4, 6, 2]),
    )


def columns(rows):
    return {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names}


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    max_seq_length=st.integers(5, 80),
    max_predictions=st.integers(1, 30),
    duplicate=st.integers(0, 65_535),
)
def test_examples_of_any_document_are_well_formed(
    lengths, max_seq_length, max_predictions, duplicate
):
    how = ExampleSettings(
        max_seq_length=max_seq_length,
        max_predictions_per_seq=min(max_predictions, max_seq_length),
    )
    rows = build(document(1, lengths), duplicate=duplicate, how=how)
    check_examples(columns(rows), vocab_size=SPECIAL.vocab_size)
    for sequence, row in enumerate(rows):
        key = split_key(row["key"])
        assert (key.page, key.duplicate, key.sequence) == (5, duplicate, sequence)
        num_tokens, split, num_masked = (
            int(row[name]) for name in ("num_tokens", "segment_split", "num_masked")
        )
        ids = row["ids"].astype(int)
        positions = row["mask_positions"][:num_masked].astype(int)
        ids[positions] = row["mask_ids"][:num_masked]
        # [CLS] A [SEP] B [SEP] and nothing behind, once the masks are undone.
        assert ids[0] == 101 and ids[split - 1] == ids[num_tokens - 1] == 102
        inner = np.delete(ids[:num_tokens], [0, split - 1, num_tokens - 1])
        assert ((inner >= 1000) & (inner < 4000)).all()
        assert num_masked == min(
            how.max_predictions_per_seq, max(1, round(0.15 * num_tokens)), num_tokens - 3
        )
        assert not {0, split - 1, num_tokens - 1} & set(positions.tolist())
        assert row["is_random_next"] in (0, 1)


def test_passes_over_a_document_differ():
    first, second = build(document(1, [8] * 30)), build(document(1, [8] * 30), duplicate=1)
    assert first["ids"].tobytes() != second["ids"].tobytes()


def test_examples_of_a_page_do_not_depend_on_other_pages():
    assert build(document(1, [8] * 9)).tobytes() == build(document(1, [8] * 9)).tobytes()
    assert build(document(1, [8] * 9)).tobytes() != build(document(1, [8] * 9), page=6).tobytes()


def test_document_without_tokens_has_no_examples():
    assert len(build([])) == 0


def test_golden_bytes_freeze_pairs_and_masks():
    # A change here changes every prepared dataset: raise `_RECIPE` in beam_pipelines/examples.py.
    rows = np.concatenate(
        [build(document(1, [9, 3, 14, 6, 30, 2, 8]), duplicate=d) for d in (0, 1)]
    )
    assert len(rows) == GOLDEN_ROWS
    assert hashlib.sha256(rows.tobytes()).hexdigest() == GOLDEN_SHA256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_length": 4}, "max_seq_length is 4; it must be from 5 to 65535"),
        ({"max_seq_length": 70_000}, "max_seq_length is 70000"),
        ({"max_predictions_per_seq": 0}, "max_predictions_per_seq is 0"),
        ({"max_seq_length": 10, "max_predictions_per_seq": 11}, "from 1 to 10"),
        ({"short_seq_prob": 1.5}, "short_seq_prob is 1.5; it must be from 0 to 1"),
        ({"masked_lm_prob": -0.1}, "masked_lm_prob is -0.1"),
        ({"masked_lm_prob": float("nan")}, "masked_lm_prob is nan"),
        ({"dupe_factor": 0}, "dupe_factor is 0"),
        ({"dupe_factor": 65_537}, "dupe_factor is 65537"),
        ({"seed": 1 << 63}, "seed is"),
    ],
)
def test_impossible_settings_are_refused_with_the_value(options, message):
    with pytest.raises(UsageError, match=message):
        ExampleSettings(**options)
