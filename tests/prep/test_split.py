import numpy as np
import pytest

from limbeck.records.keys import make_key
from prep.split import SplitMap, heldout_mask, page_prefix, record_key, split_of


def split(page, *, duplicate=0, sequence=0, corpus="enwiki", seed=1, fraction=0.25):
    key = make_key(corpus=corpus, page=page, duplicate=duplicate, sequence=sequence)
    return split_of(key, seed=seed, heldout_fraction=fraction)


def test_all_records_of_a_page_fall_on_one_side():
    for page in range(200):
        expected = split(page)
        assert split(page, duplicate=9, sequence=1234) == expected


def test_share_of_heldout_pages_is_near_the_fraction():
    count = sum(split(page) == "heldout" for page in range(10_000))
    assert abs(count - 2500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, "train"), (1.0, "heldout")])
def test_extreme_fractions_take_nothing_or_everything(fraction, expected):
    assert {split(page, fraction=fraction) for page in range(100)} == {expected}


def test_larger_fraction_only_adds_to_what_is_held_out():
    held = {page for page in range(2000) if split(page, fraction=0.1) == "heldout"}
    more = {page for page in range(2000) if split(page, fraction=0.2) == "heldout"}
    assert held < more


def test_split_depends_on_seed_and_corpus():
    pages = range(500)
    base = [split(page) for page in pages]
    assert base != [split(page, seed=2) for page in pages]
    assert base != [split(page, corpus="dewiki") for page in pages]


def test_page_prefix_drops_duplicate_and_sequence():
    one = make_key(corpus="a", page=5, duplicate=1, sequence=2)
    other = make_key(corpus="a", page=5, duplicate=3, sequence=4)
    assert page_prefix(one) == page_prefix(other) != page_prefix(make_key(corpus="a", page=6))


def keys_of(count):
    data = b"".join(make_key(corpus="enwiki", page=page) for page in range(count))
    return np.frombuffer(data, np.uint8).reshape(-1, 16)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.25, 1.0])
def test_mask_of_many_keys_is_the_split_of_each(fraction):
    expected = [split(page, fraction=fraction) == "heldout" for page in range(3000)]
    assert heldout_mask(keys_of(3000), seed=1, heldout_fraction=fraction).tolist() == expected


@pytest.mark.parametrize("count", [0, 1, 8, 1001])
def test_split_map_gives_back_what_was_packed(count):
    heldout = heldout_mask(keys_of(count), seed=1, heldout_fraction=0.3)
    packed = SplitMap.of(heldout)
    assert packed.heldout.tolist() == heldout.tolist()
    assert packed.rows("heldout").tolist() == np.flatnonzero(heldout).tolist()
    assert packed.rows("train").tolist() == np.flatnonzero(~heldout).tolist()


def test_split_map_of_many_documents_is_small():
    heldout = np.random.default_rng(0).random(1_000_000) < 0.01
    assert len(SplitMap.of(heldout).packed) < 20_000


def test_record_key_is_that_of_the_page():
    key = make_key(corpus="enwiki", page=7, duplicate=3, sequence=99)
    assert record_key(page_prefix(key), duplicate=3, sequence=99) == key
