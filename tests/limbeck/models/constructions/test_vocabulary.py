import json

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.constructions import trim_vocabulary
from limbeck.models.constructions.vocabulary import (
    MAP_NAME,
    frequent_ids,
    read_map,
    refuse_untrimmed,
    trimmed_files,
    trimmed_tokenizer,
    vocabulary_map,
)
from limbeck.tokens import WordPiece, load_tokenizer

KEPT = np.array([0, 1, 2, 3, 4, 7, 11, 12, 30, 59, 60])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0, 2, 3, 4, 6]),  # those that occur, and the special ones 0 and 2
        ({"min_count": 3}, [0, 2, 3, 6]),
        ({"size": 3}, [0, 2, 3]),  # 3 and 6 are equally frequent: the lower one
        ({"size": 2}, [0, 2]),
        ({"min_count": 9}, [0, 2]),
    ],
)
def test_frequent_ids_keep_special_ones_and_those_of_the_corpus(settings, expected):
    counts = np.array([0, 0, 0, 5, 2, 0, 5])
    kept = frequent_ids(counts, special_ids=[2, 0, 2], **settings)
    assert kept.tolist() == expected and kept.dtype == np.int64


def test_impossible_sizes_are_refused():
    with pytest.raises(UsageError, match="size is 1, but 2 special ids"):
        frequent_ids(np.ones(5), special_ids=[0, 3], size=1)
    with pytest.raises(UsageError, match="special id 7 is beyond the 5 counts"):
        frequent_ids(np.ones(5), special_ids=[7])


def test_kept_logits_are_the_teachers(make_teacher, run, batch):
    teacher = make_teacher()
    made = trim_vocabulary(teacher, KEPT)
    assert made.architecture.vocab_size == len(KEPT)
    ids = np.random.default_rng(6).integers(0, len(KEPT), batch["ids"].shape)
    ours, hidden = run(made, ids=ids)
    theirs, expected = run(teacher, ids=KEPT[ids])
    np.testing.assert_array_equal(hidden[4], expected[4])
    # The same products; a matrix of another width may be summed in another order.
    np.testing.assert_allclose(ours, theirs[..., KEPT], rtol=0, atol=1e-5)
    assert made.lines == ("trim_vocabulary: 11 of 61 ids kept",)
    assert made.origins["head/output_bias"] == "head/output_bias, 11 of 61 ids"
    np.testing.assert_array_equal(made.kept_ids, KEPT)


def test_all_ids_kept_is_the_teacher(make_teacher):
    teacher = make_teacher()
    made = trim_vocabulary(teacher, np.arange(61))
    assert made.architecture == teacher.architecture
    assert made.origins == teacher.origins
    for name, tensor in made.tensors.items():
        np.testing.assert_array_equal(tensor, teacher.tensors[name])


def test_trimming_twice_maps_back_to_the_first_vocabulary(make_teacher):
    once = trim_vocabulary(make_teacher(), KEPT)
    np.testing.assert_array_equal(trim_vocabulary(once, np.array([0, 5])).kept_ids, [0, 7])


@pytest.mark.parametrize(
    ("kept", "shape", "message"),
    [
        ([], {}, "at least one"),
        ([0, 2, 1], {}, "must ascend"),
        ([0, 61], {}, "at most 60, each once"),
        ([0.0, 1.0], {}, "at least one integer"),
        ([1, 2], {}, "id 0, padding, is not among"),
        ([0, 3], {"family": "roberta", "pad_id": 1, "position_offset": 2}, "id 1, padding"),
        ([1, 3], {"family": "roberta", "pad_id": 1, "position_offset": 2}, "would become id 0"),
    ],
)
def test_ids_that_do_not_fit_are_refused(make_teacher, kept, shape, message):
    with pytest.raises(UsageError, match=message):
        trim_vocabulary(make_teacher(**shape), np.array(kept))


def test_padding_that_moves_is_followed(make_teacher):
    made = trim_vocabulary(make_teacher(pad_id=4), np.array([2, 4, 9]))
    assert made.architecture.pad_id == 1


def test_trimmed_wordpiece_gives_the_same_pieces_on_its_corpus(vocab_file, tmp_path):
    tokenizer = WordPiece(vocab_file, split_chinese=False)
    texts = ["The cat sat", "abba word3", "cats"]
    used = np.unique([number for ids in tokenizer.encode(texts) for number in ids])
    kept = np.union1d(used, list(tokenizer.special.known().values()))
    trimmed = trimmed_tokenizer(tokenizer, kept)
    for ours, theirs in zip(trimmed.encode(texts), tokenizer.encode(texts), strict=True):
        np.testing.assert_array_equal(kept[ours], theirs)
    assert [trimmed.token(i) for i in range(len(kept))] == [tokenizer.token(i) for i in kept]
    for name, data in trimmed_files(tokenizer, kept).items():
        (tmp_path / name).write_bytes(data)
    read = load_tokenizer(tmp_path)
    assert read.fingerprint() == trimmed.fingerprint()
    assert read.split_chinese is False


def test_other_tokenizers_are_refused(make_teacher):
    class Other:
        def info(self):
            return {"kind": "byte_bpe"}

    with pytest.raises(UsageError, match="only WordPiece .* this one is byte_bpe"):
        trimmed_files(Other(), KEPT)


def write_map(directory, **changes):
    data = vocabulary_map(
        KEPT,
        source={"fingerprint": "a" * 64, "vocab_size": 61},
        trimmed={"fingerprint": "b" * 64, "vocab_size": len(KEPT)},
    )
    value = {**json.loads(data), **changes}
    (directory / MAP_NAME).write_text(json.dumps(value))


def test_map_is_read_back(tmp_path):
    assert read_map(tmp_path) is None
    write_map(tmp_path)
    value = read_map(tmp_path)
    np.testing.assert_array_equal(value["kept"], KEPT)
    assert value["source"]["fingerprint"] == "a" * 64


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"kept": [0, 2, 1, *range(5, 13)]},
        {"kept": list(range(10))},
        {"kept": [0.5] * 11},
        {"kept": list(range(60, 71))},
        {"source": {}},
    ],
)
def test_damaged_map_is_refused(tmp_path, changes):
    write_map(tmp_path, **changes)
    with pytest.raises(LimbeckError, match=f"{MAP_NAME}: not a map of a trimmed vocabulary"):
        read_map(tmp_path)


def test_examples_of_the_whole_vocabulary_are_refused_for_a_trimmed_student(tmp_path):
    refuse_untrimmed({"fingerprint": "a" * 64}, examples="examples", model=tmp_path)  # no map
    write_map(tmp_path)
    with pytest.raises(UsageError, match="examples: its ids are of the whole .* trimmed to 11"):
        refuse_untrimmed(
            {"fingerprint": "a" * 64, "vocab_size": 61}, examples="examples", model=tmp_path
        )
    for recorded in (None, {"fingerprint": "b" * 64, "vocab_size": 11}):
        refuse_untrimmed(recorded, examples="examples", model=tmp_path)
