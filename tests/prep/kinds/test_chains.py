import math

import numpy as np
import pytest

from limbeck.records.keys import make_key, order_hashes
from prep.kinds.chains import CHAIN_DOCUMENTS, begins_chain, chains_from


def keys(count, *, corpus="c"):
    data = b"".join(make_key(corpus=corpus, page=page) for page in range(count))
    return np.frombuffer(data, np.uint8).reshape(-1, 16)


@pytest.mark.parametrize("extent", [1, 7, 16, 256, 5000])
def test_extents_of_any_size_find_each_chain_once(extent):
    marks = begins_chain(keys(2000), seed=1)
    found = []
    for begin in range(0, 2000, extent):
        found += chains_from(
            begin,
            min(begin + extent, 2000),
            total=2000,
            starts=lambda first, stop: marks[first:stop],
        )
    firsts = sorted({0, *np.flatnonzero(marks).tolist()})
    assert found == list(zip(firsts, [*firsts[1:], 2000], strict=True))


def test_documents_without_any_beginning_are_one_chain():
    none = np.zeros(700, bool)

    def starts(first, stop):
        return none[first:stop]

    assert chains_from(0, 16, total=700, starts=starts) == [(0, 700)]
    assert chains_from(16, 700, total=700, starts=starts) == []
    assert chains_from(0, 0, total=0, starts=starts) == []


def test_one_in_64_documents_begins_a_chain():
    count = 20_000
    found = int(begins_chain(keys(count), seed=3).sum())
    expected = count / CHAIN_DOCUMENTS
    assert abs(found - expected) < 4 * math.sqrt(expected)
    assert not np.array_equal(begins_chain(keys(count), seed=3), begins_chain(keys(count), seed=4))


def test_whether_a_document_begins_a_chain_depends_on_it_alone():
    marks = begins_chain(keys(500), seed=1)
    assert begins_chain(keys(500)[100:200], seed=1).tolist() == marks[100:200].tolist()


def groups_of(rows):
    marks = begins_chain(rows, seed=1)
    found = chains_from(0, len(rows), total=len(rows), starts=lambda a, b: marks[a:b])
    return [tuple(key.tobytes() for key in rows[first:stop]) for first, stop in found]


def test_document_taken_away_changes_one_chain_or_joins_two():
    rows = keys(1000)
    rows = rows[np.argsort(order_hashes(rows), kind="stable")]
    before = groups_of(rows)
    for gone in (0, 17, 500, *np.flatnonzero(begins_chain(rows, seed=1))[:3].tolist()):
        after = groups_of(np.delete(rows, gone, axis=0))
        assert len(set(before) - set(after)) <= 2 and len(set(after) - set(before)) <= 1
