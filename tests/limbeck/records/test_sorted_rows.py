"""Rows in any order and in any batches give the same shard."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from limbeck.records import sorted_rows
from limbeck.records.keys import make_key
from limbeck.records.layout import KEY, Field, Layout
from limbeck.records.writer import DatasetWriter, RowBatch

FIXED = Layout((KEY, Field("ids", "uint16", (3,))))
VARIABLE = Layout((KEY, Field("text", "utf8")))


def writer(directory, layout):
    made = DatasetWriter(
        str(directory), name="d", kind="documents", layout=layout, num_shards=1, settings={}
    )
    made.open()
    return made


def rows(num):
    return [
        {
            "key": np.frombuffer(make_key(corpus="c", page=n), np.uint8),
            "text": "x" * (n % 7) + str(n),
            "ids": np.array([n, n + 1, n * 3 % 17], np.uint16),
        }
        for n in range(num)
    ]


def batch(some, layout, *, lengths=True):
    picked = [{name: row[name] for name in layout.names} for row in some]
    return RowBatch(
        rows=picked,
        lengths=[len(row["text"]) for row in some] if lengths else None,
        labelled_positions=len(some),
    )


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("layout", [FIXED, VARIABLE], ids=["fixed", "variable"])
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_and_any_batches_give_the_same_bytes(layout, data, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(sorted_rows, "CHUNK_BYTES", data.draw(st.sampled_from([1, 90, 700])))
    num = data.draw(st.integers(0, 40))
    some = rows(num)
    whole, parts = (tmp_path_factory.mktemp(name) for name in ("whole", "parts"))
    expected = writer(whole, layout).write_batches(0, [batch(some, layout)])
    shuffled = data.draw(st.permutations(some))
    cuts = sorted(data.draw(st.lists(st.integers(0, num), max_size=6)))
    pieces = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, num], strict=True)]
    found = writer(parts, layout).write_batches(0, (batch(piece, layout) for piece in pieces))
    assert found == expected
    assert (found.records, found.labelled_positions) == (num, num)
    assert files(parts) == files(whole)


def test_no_batches_make_an_empty_shard(tmp_path):
    assert writer(tmp_path, FIXED).write_batches(0, []).records == 0


def test_key_that_is_in_two_batches_is_refused(tmp_path):
    some = rows(4)
    with pytest.raises(LimbeckError, match="1 keys occur twice"):
        writer(tmp_path, VARIABLE).write_batches(
            0, [batch(some, VARIABLE), batch(some[2:3], VARIABLE)]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]  # and no file is left


def test_lengths_of_some_batches_only_are_refused(tmp_path):
    some = rows(4)
    with pytest.raises(ValueError, match="lengths are given for some batches"):
        writer(tmp_path, VARIABLE).write_batches(
            0, [batch(some[:2], VARIABLE), batch(some[2:], VARIABLE, lengths=False)]
        )


def test_only_two_batches_are_held_at_a_time(tmp_path):
    alive = []

    class Rows(list):
        def __init__(self, values):
            super().__init__(values)
            alive.append(1)

        def __del__(self):
            alive.pop()

    def batches():
        for row in rows(10):
            most.append(len(alive))
            yield RowBatch(rows=Rows([{name: row[name] for name in VARIABLE.names}]))

    most = []
    writer(tmp_path, VARIABLE).write_batches(0, batches())
    assert max(most) <= 1  # and the one that is made next
