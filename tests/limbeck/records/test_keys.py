"""Keys, places and digests."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.records.keys import (
    input_digest,
    key_rows,
    make_key,
    order_hash,
    order_hashes,
    row_order,
    shard_of,
    shards_of,
    split_key,
)

KEYS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=40)
PARTS = st.tuples(st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))


def test_key_is_corpus_hash_page_duplicate_sequence_big_endian():
    key = make_key(corpus="enwiki", page=1, duplicate=2, sequence=3)
    assert key == hashlib.sha256(b"enwiki").digest()[:4] + bytes.fromhex("000000000001000200000003")
    parts = split_key(key)
    assert (parts.page, parts.duplicate, parts.sequence) == (1, 2, 3)


@given(PARTS, PARTS)
def test_keys_sort_like_their_parts(left, right):
    def key(parts):
        return make_key(corpus="c", page=parts[0], duplicate=parts[1], sequence=parts[2])

    assert (key(left) < key(right)) == (left < right)
    assert split_key(np.frombuffer(key(left), np.uint8)) == split_key(key(left))
    found = split_key(key(left))
    assert (found.page, found.duplicate, found.sequence) == left


@pytest.mark.parametrize(
    ("part", "value"),
    [("page", 2**48), ("page", -1), ("duplicate", 2**16), ("sequence", 2**32), ("sequence", -1)],
)
def test_part_that_does_not_fit_is_refused_by_name(part, value):
    with pytest.raises(ValueError, match=f"key: {part} is {value}"):
        make_key(**{"corpus": "c", "page": 0, part: value})


def test_wrong_number_of_bytes_is_refused():
    with pytest.raises(ValueError, match="15 bytes; a key has 16"):
        order_hash(bytes(15))
    with pytest.raises(ValueError, match="expected uint8"):
        order_hashes(np.zeros((2, 8), np.uint8))


def test_order_hash_never_changes():
    # Golden: another value moves every record of every dataset.
    assert order_hash(bytes(16)) == 0x5250A507F994740E
    assert order_hash(bytes(range(16))) == 0xF49644867B0897EA


@given(KEYS, st.integers(1, 99_999))
def test_vectorised_places_equal_the_single_ones(keys, num_shards):
    rows = key_rows(keys)
    assert order_hashes(rows).tolist() == [order_hash(key) for key in keys]
    assert shards_of(rows, num_shards).tolist() == [shard_of(key, num_shards) for key in keys]
    assert max(shards_of(rows, num_shards)) < num_shards


@given(KEYS)
def test_row_order_sorts_by_hash_then_key(keys):
    found = [keys[i] for i in row_order(key_rows(keys))]
    assert found == sorted(keys, key=lambda key: (order_hash(key), key))


@given(KEYS)
def test_shards_are_consecutive_ranges_of_one_order(keys):
    ordered = key_rows(keys)[row_order(key_rows(keys))]
    for num_shards in (1, 3, 64):
        assert (np.diff(shards_of(ordered, num_shards)) >= 0).all()


def slow_digest(ids, num, split, positions=None):
    """The definition, in five lines."""
    parts = [struct.pack(f"<{num}I", *ids[:num]), bytes([0] * split + [1] * (num - split))]
    if positions is not None:
        parts.append(struct.pack(f"<{len(positions)}I", *positions))
    data = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return hashlib.sha256(b"limbeck-input-1" + data).digest()[:8]


@settings(deadline=None)
@given(st.data(), st.sampled_from([np.uint16, np.uint32, np.int32, np.int64]))
def test_digest_equals_its_definition(data, dtype):
    num = data.draw(st.integers(0, 6))
    split = data.draw(st.integers(0, num))
    ids = data.draw(st.lists(st.integers(0, 2**15), min_size=6, max_size=6))
    count = data.draw(st.integers(0, 3))
    positions = data.draw(st.lists(st.integers(0, 5), min_size=3, max_size=3))
    arguments = np.array([ids], dtype), np.array([num]), np.array([split])
    assert input_digest(*arguments)[0].tobytes() == slow_digest(ids, num, split)
    found = input_digest(*arguments, np.array([positions], dtype), np.array([count]))
    assert found[0].tobytes() == slow_digest(ids, num, split, positions[:count])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ids": [[1, 2, 4, 0]]}, "another id"),
        ({"num_tokens": [2]}, "another length"),
        ({"segment_split": [1]}, "another segment border"),
        ({"positions": [[0, 2]]}, "another position"),
        ({"num_positions": [1]}, "fewer positions"),
        ({"positions": None, "num_positions": None}, "no positions"),
    ],
)
def test_digest_changes_with_everything_the_teacher_sees(change, why):
    base = {
        "ids": [[1, 2, 3, 0]],
        "num_tokens": [3],
        "segment_split": [2],
        "positions": [[0, 1]],
        "num_positions": [2],
    }

    def digest(parts):
        arrays = {k: None if v is None else np.array(v) for k, v in parts.items()}
        return input_digest(**arrays).tobytes()

    assert digest(base) != digest({**base, **change}), why


def test_digest_never_changes():
    # Golden: another value parts every label from its input.
    found = input_digest(np.array([[1, 2, 3, 0]]), np.array([3]), np.array([2]))
    assert found.tobytes().hex() == "cb7d68fa1e0271ef"


def test_digest_of_numbers_that_are_no_integers_is_refused():
    with pytest.raises(ValueError, match="ids: expected integers"):
        input_digest(np.ones((1, 2)), np.ones(1, int), np.ones(1, int))


def test_digest_ignores_padding():
    tokens, split = np.array([2]), np.array([2])
    left = input_digest(np.array([[1, 2, 0, 0]]), tokens, split)
    assert (left == input_digest(np.array([[1, 2, 9, 9]]), tokens, split)).all()
    assert (left == input_digest(np.array([[1, 2]]), tokens, split)).all()


@pytest.mark.parametrize(
    ("num_tokens", "split", "num_positions"),
    [(5, 1, 0), (2, 3, 0), (2, -1, 0), (2, 1, 2), (2, 1, -1)],
)
def test_impossible_counts_are_refused_naming_the_row(num_tokens, split, num_positions):
    with pytest.raises(ValueError, match="row 1 has"):
        input_digest(
            np.zeros((2, 4), np.uint16),
            np.array([1, num_tokens]),
            np.array([1, split]),
            np.zeros((2, 1), np.uint16),
            np.array([0, num_positions]),
        )


def test_positions_without_their_count_are_refused():
    with pytest.raises(ValueError, match="go together"):
        input_digest(np.zeros((1, 1)), np.ones(1), np.ones(1), positions=np.zeros((1, 1)))


def test_no_rows_give_no_digests():
    empty = np.zeros(0, np.int64)
    assert input_digest(np.zeros((0, 4), np.uint16), empty, empty).shape == (0, 8)
