import os

import pytest

from bench._gold import (
    GOLD,
    Passage,
    hashes_of,
    pack,
    read_articles,
    read_passages,
    score,
    unpack,
    without_headings,
)
from bench.cleaning import DUMP, ours, quality


def passage(text):
    return Passage(
        page=1, kind="x", wikitext="", words=hashes_of(text, run=1), runs=hashes_of(text, run=3)
    )


def test_score_counts_words_lost_and_junk():
    truth = passage("The dog barks at the cat.")
    assert score("the DOG barks, at the cat", truth, run=1).lost == 0
    found = score("The dog style barks at cat", truth, run=1)
    assert (found.seen, found.lost, found.given, found.junk) == (6, 1, 6, 1)
    runs = score("the dog barks at cat", truth, run=3)  # "at the cat" and its neighbours are broken
    assert (runs.seen, runs.lost, runs.junk) == (6, 3, 2)


def test_hashes_survive_packing():
    hashes = hashes_of("a b a c", run=1)
    assert unpack(pack(hashes)) == hashes and hashes.total() == 4


def test_gold_set_holds_no_text():
    assert GOLD.read_bytes().isascii()


def test_headings_are_taken_out():
    assert without_headings("a\n== b ==\nc = d\n") == "a\nc = d\n"


@pytest.mark.skipif(not os.path.exists(DUMP), reason="the sample dump is not there: make setup")
def test_our_quality_on_the_gold_set_does_not_fall():
    passages = read_passages(dict(read_articles(DUMP)))
    assert len(passages) == 50
    found = quality(ours, passages)
    assert found["words lost"] < 0.015 and found["words junk"] < 0.003
    assert found["runs lost"] < 0.025 and found["runs junk"] < 0.01
    assert found["residue"] == 0
