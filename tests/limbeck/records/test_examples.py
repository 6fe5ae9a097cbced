"""The examples layout and what its rows must satisfy."""

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records.examples import (
    attention_mask,
    check_examples,
    examples_layout,
    ids_dtype,
    segment_ids,
)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(1, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_ids_are_as_wide_as_the_vocabulary_needs(vocab_size, dtype):
    assert ids_dtype(vocab_size) == dtype
    layout = examples_layout(seq_length=4, max_predictions=2, vocab_size=vocab_size)
    assert layout.field("ids").dtype == layout.field("mask_ids").dtype == dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq_length": 0}, "seq_length is 0"),
        ({"seq_length": 65_536}, "seq_length is 65536"),
        ({"max_predictions": 0}, "max_predictions is 0"),
        ({"max_predictions": 9}, "max_predictions is 9"),
        ({"vocab_size": 0}, "vocab_size is 0"),
    ],
)
def test_impossible_dimensions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        examples_layout(**{"seq_length": 8, "max_predictions": 2, "vocab_size": 9, **change})


def test_segments_and_mask_of_hand_made_rows():
    tokens, split = np.array([3, 4, 1], np.uint16), np.array([2, 4, 1], np.uint16)
    assert segment_ids(tokens, split, 4).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert attention_mask(tokens, 4).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert segment_ids(tokens, split, 4).dtype == attention_mask(tokens, 4).dtype == np.uint8


def test_valid_rows_pass(tools):
    check_examples(tools.example_rows(200), vocab_size=100)
    check_examples(tools.example_rows(0), vocab_size=100)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_tokens", 0, "num_tokens is not in"),
        ("num_tokens", 9, "num_tokens is not in"),
        ("segment_split", 0, "segment_split is not in"),
        ("segment_split", 6, "segment_split is not in"),
        ("num_masked", 4, "num_masked is above 3"),
        ("ids", [7, 8, 9, 100, 1, 0, 0, 0], "an id is not below 100"),
        ("mask_ids", [100, 1, 0], "an id is not below 100"),
        ("ids", [7, 8, 9, 1, 1, 4, 0, 0], "ids is not 0 behind num_tokens"),
        ("mask_positions", [1, 5, 0], "a mask position is not below num_tokens"),
        ("mask_positions", [2, 2, 0], "mask_positions do not ascend"),
        ("mask_positions", [2, 1, 0], "mask_positions do not ascend"),
        ("mask_positions", [1, 2, 3], "mask_positions is not 0 behind num_masked"),
        ("mask_ids", [1, 2, 3], "mask_ids is not 0 behind num_masked"),
        ("is_random_next", 2, "is_random_next is not 0, 1 or 255"),
    ],
)
def test_bad_row_is_refused_naming_row_and_key(tools, field, value, message):
    rows = {name: values.copy() for name, values in tools.example_rows(3).items()}
    good = {
        "ids": [7, 8, 9, 1, 1, 0, 0, 0],
        "num_tokens": 5,
        "segment_split": 3,
        "mask_positions": [1, 3, 0],
        "mask_ids": [5, 6, 0],
        "num_masked": 2,
        "is_random_next": 1,
    }
    for name, part in good.items():
        rows[name][1] = part
    check_examples(rows, vocab_size=100)
    rows[field][1] = value
    with pytest.raises(
        LimbeckError, match=f"row 1 .key {rows['key'][1].tobytes().hex()}.: {message}"
    ):
        check_examples(rows, vocab_size=100)
