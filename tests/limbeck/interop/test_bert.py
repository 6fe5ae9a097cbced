"""BERT's records <-> examples, on arrays small enough to read."""

from typing import Any

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.interop.bert import from_examples, to_examples

VOCAB_SIZE = 100
KEYS = np.arange(32, dtype=np.uint8).reshape(2, 16)


def record() -> dict[str, Any]:
    """Two records of 8 tokens and 3 slots: a pair with two masks, a single segment with none."""
    return {
        "input_ids": np.array([[2, 4, 3, 7, 4, 3, 0, 0], [2, 9, 3, 0, 0, 0, 0, 0]]),
        "input_mask": np.array([[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]]),
        "segment_ids": np.array([[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]]),
        "masked_lm_positions": np.array([[1, 4, 0], [0, 0, 0]]),
        "masked_lm_ids": np.array([[50, 60, 0], [0, 0, 0]]),
        "masked_lm_weights": np.array([[1, 1, 0], [0, 0, 0]], np.float32),
        "next_sentence_labels": np.array([[1], [0]]),
    }


def where(row: int) -> str:
    return f"f.tfrecord: record {row}"


def convert(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    return to_examples(arrays, keys=KEYS, vocab_size=VOCAB_SIZE, where=where).columns


def test_fields_are_what_the_examples_layout_says() -> None:
    columns = convert(record())
    assert columns["num_tokens"].tolist() == [6, 3]
    assert columns["segment_split"].tolist() == [3, 3]  # all tokens where there is one segment
    assert columns["mask_positions"].tolist() == [[1, 4, 0], [0, 0, 0]]
    assert columns["mask_ids"].tolist() == [[50, 60, 0], [0, 0, 0]]
    assert columns["num_masked"].tolist() == [2, 0]
    assert columns["is_random_next"].tolist() == [1, 0]
    assert columns["ids"].dtype == np.uint16


def test_there_and_back_is_the_same_record() -> None:
    back = from_examples(convert(record()), next_sentence=True, where=where)
    for name, values in record().items():
        assert back[name].dtype == (np.float32 if name == "masked_lm_weights" else np.int64)
        assert np.array_equal(back[name], values), name


def test_slots_are_sorted_and_what_stands_in_padding_is_dropped() -> None:
    arrays = record()
    arrays["masked_lm_positions"][0] = [4, 99, 1]
    arrays["masked_lm_ids"][0] = [60, 77, 50]
    arrays["masked_lm_weights"][0] = [1, 0, 1]
    rows = to_examples(arrays, keys=KEYS, vocab_size=VOCAB_SIZE, where=where)
    expected = convert(record())
    for name, values in expected.items():
        assert np.array_equal(rows.columns[name], values), name
    assert rows.slot_order[0].tolist() == [2, 0, 1]


def test_rows_without_next_sentence_label_need_records_without() -> None:
    arrays = record()
    del arrays["next_sentence_labels"]
    columns = convert(arrays)
    assert columns["is_random_next"].tolist() == [255, 255]
    assert "next_sentence_labels" not in from_examples(columns, next_sentence=False, where=where)
    with pytest.raises(LimbeckError, match="record 0: carries no next-sentence label"):
        from_examples(columns, next_sentence=True, where=where)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("input_mask", [1, 1, 0, 1, 0, 0, 0, 0], "input_mask is not 1 ... 1 0 ... 0"),
        ("input_mask", [0] * 8, "input_mask is not 1 ... 1 0 ... 0"),
        ("input_mask", [2, 1, 0, 0, 0, 0, 0, 0], "input_mask is not 1 ... 1 0 ... 0"),
        ("input_ids", [2, 100, 3, 0, 0, 0, 0, 0], r"input_ids has an id outside \[0, 100\)"),
        ("input_ids", [2, -1, 3, 0, 0, 0, 0, 0], r"input_ids has an id outside \[0, 100\)"),
        ("input_ids", [2, 9, 3, 7, 0, 0, 0, 0], "input_ids is not 0 where input_mask is"),
        ("segment_ids", [0, 1, 0, 0, 0, 0, 0, 0], "segment_ids is not 0 ... 0 1 ... 1"),
        ("segment_ids", [1, 1, 1, 0, 0, 0, 0, 0], "segment_ids is not 0 ... 0 1 ... 1"),
        ("segment_ids", [0, 0, 2, 0, 0, 0, 0, 0], "segment_ids is not 0 ... 0 1 ... 1"),
        ("segment_ids", [0, 0, 0, 1, 0, 0, 0, 0], "segment_ids is not 0 ... 0 1 ... 1"),
        ("next_sentence_labels", [2], "next_sentence_labels is neither 0 nor 1"),
        ("masked_lm_weights", [0.5, 0, 0], "masked_lm_weights has more than 0 and 1"),
        ("masked_lm_weights", [np.nan, 0, 0], "masked_lm_weights has more than 0 and 1"),
    ],
)
def test_impossible_record_is_refused_and_named(field: str, value: list, message: str) -> None:
    arrays = record()
    arrays[field][1] = value
    with pytest.raises(LimbeckError, match=f"f.tfrecord: record 1: {message}"):
        convert(arrays)


@pytest.mark.parametrize(
    ("positions", "ids", "message"),
    [
        ([3, 0, 0], [5, 0, 0], "masked_lm_positions has a position outside the record's tokens"),
        ([-1, 0, 0], [5, 0, 0], "masked_lm_positions has a position outside the record's tokens"),
        ([1, 1, 0], [5, 5, 0], "masked_lm_positions has a position twice"),
        ([1, 2, 0], [5, 100, 0], r"masked_lm_ids has an id outside \[0, 100\)"),
    ],
)
def test_impossible_slots_are_refused_and_named(
    positions: list[int], ids: list[int], message: str
) -> None:
    arrays = record()
    arrays["masked_lm_positions"][1] = positions
    arrays["masked_lm_ids"][1] = ids
    arrays["masked_lm_weights"][1] = [1, 1, 0]
    with pytest.raises(LimbeckError, match=f"f.tfrecord: record 1: {message}"):
        convert(arrays)
