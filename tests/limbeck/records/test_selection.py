"""Which rows of the parent a partial family holds, against the obvious way."""

import numpy as np
import pytest

from limbeck.records.selection import Selection


@pytest.mark.parametrize("records", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_find_is_the_place_among_the_rows_that_are_there(records, fraction):
    rng = np.random.default_rng(records)
    rows = np.flatnonzero(rng.random(records) < fraction)
    selection = Selection.of(rng.permutation(rows), records)
    places = {int(row): place for place, row in enumerate(rows)}
    every = np.arange(records)
    assert selection.find(every).tolist() == [places.get(row, -1) for row in range(records)]
    assert selection.rows().tolist() == rows.tolist()
    assert selection.num_rows == len(rows)
    assert selection.problem(len(rows)) is None


@pytest.mark.parametrize(
    "rows, reason",
    [
        ([1, 1], "there twice"),
        ([10], "not rows of a shard of 10"),
        ([-1], "not rows of a shard of 10"),
        ([0.5], "expected integers"),
        ([[1]], "expected integers"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows, reason):
    with pytest.raises(ValueError, match=reason):
        Selection.of(np.array(rows), 10)


def test_bitmap_that_does_not_fit_is_a_problem():
    good = Selection.of(np.array([3, 70]), 80)
    assert "3 of ours" in str(good.problem(3))
    ranks = Selection(records=80, present=good.present, ranks=good.ranks + np.uint32(1))
    assert "ranks" in str(ranks.problem(2))
    assert "beyond the parent's 70" in str(
        Selection(records=70, present=good.present, ranks=good.ranks).problem(2)
    )
