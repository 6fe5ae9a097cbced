"""Positions of a batch, cut into parts that the head of the vocabulary takes one by one."""

# M chosen positions, V vocabulary

from collections.abc import Iterator

import numpy as np

from limbeck.teachers.protocol import Items

__all__ = ["HEAD_ROWS", "filled", "parts_of_items", "with_draws"]

HEAD_ROWS = 1024
"""Positions whose logits exist at one time: V times 4 KiB, and that a few times over."""
_LEAST_ROWS = 64


def parts_of_items(items: Items) -> Iterator[Items]:
    """At most `HEAD_ROWS` positions each; one part at least. A function of M alone."""
    for start in range(0, max(1, len(items.index)), HEAD_ROWS):
        part = slice(start, start + HEAD_ROWS)
        draws = None if items.draws is None else items.draws[part]
        yield Items(index=items.index[part], true_ids=items.true_ids[part], draws=draws)


def with_draws(items: Items) -> Items:
    """With zeros where there are no draws: arrays of one kind for every batch."""
    if items.draws is not None:
        return items
    draws = np.zeros((len(items.index), 2), np.int32)
    return Items(index=items.index, true_ids=items.true_ids, draws=draws)


def filled(items: Items) -> Items:
    """Position 0 repeated behind them, up to one of few numbers: a quarter more, or 63, at most.

    For compilers that make a program for every number of positions.
    """
    count = len(items.index)
    step = max(_LEAST_ROWS, 1 << max(0, count.bit_length() - 3))
    more = max(1, -(-count // step)) * step - count
    draws = None if items.draws is None else np.pad(items.draws, ((0, more), (0, 0)))
    return Items(
        index=np.pad(items.index, (0, more)),
        true_ids=np.pad(items.true_ids, (0, more)),
        draws=draws,
    )
