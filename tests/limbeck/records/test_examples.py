"""The examples layout and what its rows must satisfy."""

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.examples import (
    EXAMPLE_KINDS,
    NO_CHARACTER,
    attention_mask,
    check_examples,
    examples_layout,
    ids_dtype,
    kind_layout,
    labelled_positions,
    refuse_unmasked,
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


MASKS = ("mask_positions", "mask_ids", "num_masked")


@pytest.mark.parametrize(
    ("kind", "options", "further"),
    [
        ("pairs", {"max_predictions": 3}, (*MASKS, "is_random_next")),
        ("mlm", {"max_predictions": 3}, MASKS),
        ("unmasked-pairs", {}, ("is_random_next",)),
        ("clm", {}, ()),
        ("lines", {}, ()),
        ("lines", {"max_predictions": 3}, MASKS),
        ("classification", {}, ("class_id",)),
        ("multi-label", {"num_labels": 2}, ("class_flags",)),
        ("regression", {}, ("target",)),
        ("tagging", {}, ("tags",)),
        ("qa", {}, ("span_start", "span_end", "char_starts", "char_ends", "answerable")),
    ],
)
def test_each_kind_has_the_fields_that_mean_something(kind, options, further):
    layout = kind_layout(kind, seq_length=8, vocab_size=100, **options)
    assert layout.names == ("key", "ids", "num_tokens", "segment_split", *further)
    assert layout.stride_is_fixed and kind in EXAMPLE_KINDS


def test_pairs_have_the_layout_they_always_had():
    arguments = {"seq_length": 8, "max_predictions": 3, "vocab_size": 100}
    assert kind_layout("pairs", **arguments) == examples_layout(**arguments)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mlm", {}, "max_predictions is missing; mlm examples are masked"),
        ("clm", {"max_predictions": 3}, "max_predictions is 3; clm examples have no masks"),
        ("multi-label", {}, "num_labels is None; multi-label examples need one"),
    ],
)
def test_layouts_that_make_no_sense_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind_layout(kind, seq_length=8, vocab_size=100, **options)


def task_rows(**fields):
    """Two rows of five tokens, sound but for what is given."""
    rows = {
        "key": np.arange(32, dtype=np.uint8).reshape(2, 16),
        "ids": np.array([[7, 8, 9, 1, 1, 0, 0, 0]] * 2, np.uint16),
        "num_tokens": np.array([5, 5], np.uint16),
        "segment_split": np.array([2, 5], np.uint16),
    }
    return rows | fields


def qa_rows(**changes):
    none = np.full(8, NO_CHARACTER, np.uint32)
    starts, ends = none.copy(), none.copy()
    starts[2:4], ends[2:4] = (0, 4), (3, 9)
    fields = {
        "span_start": np.array([0, 2], np.uint16),
        "span_end": np.array([0, 3], np.uint16),
        "char_starts": np.stack([starts, starts]),
        "char_ends": np.stack([ends, ends]),
        "answerable": np.array([0, 1], np.uint8),
    }
    for name, value in changes.items():
        fields[name][1] = value
    return task_rows(**fields)


SOUND = {
    "class_id": (np.array([-1, 2], np.int32), 1),
    "class_flags": (np.array([[255, 255], [0, 1]], np.uint8), 1),
    "target": (np.array([np.nan, -2.5], np.float32), 1),
    "tags": (np.array([[65535] * 8, [65535, 0, 2, 65535, 65535] + [65535] * 3], np.uint16), 2),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_task_rows_pass_and_their_labels_are_counted(name):
    values, count = SOUND[name]
    rows = task_rows(**{name: values})
    check_examples(rows, vocab_size=100, num_labels=3)
    assert labelled_positions(rows) == count


def test_sound_questions_pass_and_are_counted():
    check_examples(qa_rows(), vocab_size=100)
    check_examples(qa_rows(answerable=255, span_start=0, span_end=0))
    assert labelled_positions(qa_rows()) == 2
    assert labelled_positions(task_rows()) == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("class_id", -2, "class_id is not in .-1, 2."),
        ("class_id", 3, "class_id is not in .-1, 2."),
        ("class_flags", [255, 1], "class_flags are not 0 or 1, nor all 255"),
        ("class_flags", [2, 1], "class_flags are not 0 or 1"),
        ("target", np.inf, "target is not finite"),
        ("tags", [65535] * 6 + [1, 65535], "a tag is behind num_tokens"),
        ("tags", [3] + [65535] * 7, "a tag is not in .0, 2."),
    ],
)
def test_unsound_task_rows_are_refused(name, value, message):
    rows = task_rows(**{name: SOUND[name][0].copy()})
    rows[name][1] = value
    with pytest.raises(LimbeckError, match=f"row 1 .*{message}"):
        check_examples(rows, vocab_size=100, num_labels=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answerable": 2}, "answerable is not 0, 1 or 255"),
        ({"answerable": 0}, "there is an answer and answerable is not 1"),
        ({"span_start": 4}, "the answer does not lie in the tokens"),
        ({"span_end": 5}, "the answer does not lie in the tokens"),
        ({"span_end": 4}, "the answer is not in the context"),
        ({"char_starts": 1}, "char_starts and char_ends do not agree"),
        ({"char_starts": 1, "char_ends": 2}, "a character is behind num_tokens"),
    ],
)
def test_unsound_questions_are_refused(changes, message):
    with pytest.raises(LimbeckError, match=f"row 1 .*{message}"):
        check_examples(qa_rows(**changes), vocab_size=100)


def test_examples_without_masks_are_refused_where_masks_are_needed():
    masked = kind_layout("mlm", seq_length=8, vocab_size=9, max_predictions=2)
    refuse_unmasked(masked, examples="x", who="train")
    with pytest.raises(UsageError, match="x: these examples have no masked positions, and train"):
        refuse_unmasked(kind_layout("clm", seq_length=8, vocab_size=9), examples="x", who="train")
