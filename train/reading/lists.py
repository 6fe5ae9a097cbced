"""The lists of entries that a batch can have, and what the examples say of each entry. Pure NumPy.

An entry is a slot of a row. What a slot is differs: a prediction slot for `masked`, a token for
`all`, `next` and `tags`, the row itself for the rest.
"""

# m rows, S token slots, P slots for masked positions, C labels

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from limbeck.records.examples import NO_ANSWER_LABEL, NO_CLASS, NO_FLAG, NO_TAG

__all__ = ["LISTS", "List", "Rows"]


class Rows:
    """The rows of a micro-batch; a field is gathered when it is first asked for.

    Args:
      examples: field -> (n, ...).
      rows: (m,) which of the n.
      is_real: (m,) bool: which of the m count.
    """

    def __init__(
        self, examples: Mapping[str, np.ndarray], rows: np.ndarray, is_real: np.ndarray
    ) -> None:
        self.rows = rows
        self.is_real = is_real
        self._examples = examples
        self._gathered: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        """Whether the examples have a field."""
        return name in self._examples

    def __getitem__(self, name: str) -> np.ndarray:
        """A field, (m, ...)."""
        if name not in self._gathered:
            self._gathered[name] = self._examples[name][self.rows]
        return self._gathered[name]

    def slots(self, name: str) -> int:
        """Slots of a field of several; without gathering it."""
        return int(self._examples[name].shape[1])


@dataclass(frozen=True, kw_only=True)
class List:
    """One list."""

    used: Callable[[Rows], np.ndarray]
    """(m, slots) bool: the entries."""
    labels: Callable[[Rows], np.ndarray | None] | None = None
    """(m, slots, ...) what the examples say of them; None where they say nothing."""
    dtype: type = np.int32
    """Of the labels, as the losses get them."""
    tokens: Callable[[Rows], np.ndarray] | None = None
    """(m, slots) token of a slot; None: the slot's own number."""


def _below(counts: np.ndarray, slots: int) -> np.ndarray:
    """(m, slots) bool: the first slots of each row."""
    return np.arange(slots) < counts.astype(np.int64)[:, None]


def _one(values: np.ndarray) -> np.ndarray:
    """(m, ...) -> (m, 1, ...): one slot a row."""
    return values[:, None]


def _next_ids(rows: Rows) -> np.ndarray:
    ids = rows["ids"]
    return np.concatenate([ids[:, 1:], np.zeros_like(ids[:, :1])], axis=1)


def _tags(rows: Rows) -> np.ndarray | None:
    if "tags" not in rows:
        return None
    return np.where(rows["tags"] == NO_TAG, -1, rows["tags"].astype(np.int32))


LISTS: Mapping[str, List] = {
    "masked": List(
        used=lambda r: _below(r["num_masked"], r.slots("mask_positions")),
        labels=lambda r: r["mask_ids"],
        tokens=lambda r: r["mask_positions"],
    ),
    "all": List(used=lambda r: _below(r["num_tokens"], r.slots("ids")), labels=_tags),
    "first": List(
        used=lambda r: np.ones((len(r.rows), 1), bool),
        labels=lambda r: _one(r["class_id"]) if "class_id" in r else None,
    ),
    "next": List(
        used=lambda r: _below(r["num_tokens"].astype(np.int64) - 1, r.slots("ids")),
        labels=_next_ids,
    ),
    "class": List(
        used=lambda r: _one(r["class_id"] != NO_CLASS), labels=lambda r: _one(r["class_id"])
    ),
    "flags": List(
        used=lambda r: _one((r["class_flags"] != NO_FLAG).all(axis=1)),
        labels=lambda r: _one(r["class_flags"]),
        dtype=np.float32,
    ),
    "target": List(
        used=lambda r: _one(~np.isnan(r["target"])),
        labels=lambda r: _one(r["target"]),
        dtype=np.float32,
    ),
    "tags": List(used=lambda r: r["tags"] != NO_TAG, labels=lambda r: r["tags"]),
    "sentence": List(
        used=lambda r: _one(r["is_random_next"] <= 1), labels=lambda r: _one(r["is_random_next"])
    ),
    "span": List(
        used=lambda r: _one(r["answerable"] != NO_ANSWER_LABEL),
        labels=lambda r: np.stack([r["span_start"], r["span_end"]], axis=-1)[:, None],
    ),
}
"""Name -> list. Labels of `all` and `first` are a token's tag and a row's class, -1 for none."""
