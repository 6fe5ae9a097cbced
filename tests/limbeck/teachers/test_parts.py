import numpy as np
import pytest

from limbeck.labels.signals import FinalSignal, HiddenSignal, QkvSignal, SparseSignal
from limbeck.teachers import Items
from limbeck.teachers.asked import asked_of
from limbeck.teachers.parts import HEAD_ROWS, filled, parts_of_items, with_draws


def items(count, *, draws=True):
    index = np.arange(count, dtype=np.int32)
    words = np.stack([index, -index], axis=-1) if draws else None
    return Items(index=index, true_ids=index + 7, draws=words)


@pytest.mark.parametrize("count", [0, 1, HEAD_ROWS, HEAD_ROWS + 1, 3 * HEAD_ROWS])
def test_parts_hold_every_position_once_and_in_order(count):
    parts = list(parts_of_items(items(count)))
    assert len(parts) == max(1, -(-count // HEAD_ROWS))
    whole = items(count)
    for name in ("index", "true_ids", "draws"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_numbers_of_positions_are_filled_up_to_few():
    sizes = {len(filled(items(count)).index) for count in range(HEAD_ROWS + 1)}
    assert sizes == {64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024}
    for count in (0, 1, 64, 65, 700):
        given = filled(items(count))
        assert len(given.index) <= 1.25 * count + 64
        assert len(given.index) == len(given.true_ids) == len(given.draws)
        np.testing.assert_array_equal(given.index[:count], np.arange(count))
        assert not given.index[count:].any()


def test_no_draws_become_zeros():
    given = with_draws(items(3, draws=False))
    assert given.draws.shape == (3, 2) and given.draws.dtype == np.int32 and not given.draws.any()
    same = items(3)
    assert with_draws(same) is same


def test_every_source_is_asked_for_once():
    asked = asked_of(
        [
            SparseSignal(k=2),
            SparseSignal(k=5),
            FinalSignal(positions="all"),
            HiddenSignal(layer=3),
            HiddenSignal(layer=1),
            HiddenSignal(layer=1, codec="int8"),
            HiddenSignal(layer=1, positions="first"),
            QkvSignal(layer=2),
        ]
    )
    assert asked.layers("hidden") == (1, 3) and asked.layers("qkv") == (2,)
    assert asked.layers("attention") == () and not asked.task
    assert len(asked.body) == 4 and len(asked.vocabulary) == 2
    assert asked.groups == ("masked", "all", "first")
    assert asked.head_groups() == ("masked", "all")
