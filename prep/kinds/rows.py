"""Rows on their way to the sink, as structured arrays, and what became of the documents."""

# N rows

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.records.layout import Layout
from prep.kinds.frame import Framed
from prep.masking import Masked

__all__ = ["NO_TOKENS", "Made", "Rows", "TokenisedDocument", "row_dtype"]

NO_TOKENS = "no_tokens"
"""Filter that takes out documents of which the tokenizer leaves nothing."""


@dataclass(frozen=True, kw_only=True)
class TokenisedDocument:
    """A document on its way to rows."""

    row: int
    """Of the documents dataset."""
    key: bytes
    """Its 16-byte key."""
    sentences: Sequence[Sequence[int]]
    """Token ids, each sentence with at least one; for `clm` the whole text as one."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made of some documents."""

    rows: npt.NDArray[Any]
    """(N,) structured rows."""
    filters: Sequence[str]
    """For each document the filter that took it out; empty for one that is in the rows."""
    notes: Mapping[str, int] = field(default_factory=Counter)
    """Facts to be told, such as tokens left out, and how many."""


def row_dtype(layout: Layout) -> np.dtype[Any]:
    """Returns the structured dtype of one row of a fixed layout, in the layout's order."""
    return np.dtype([(f.name, f.numpy_dtype, f.shape) for f in layout.fields])


class Rows:
    """Collects rows of one dtype."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._rows: list[Any] = []

    def add(
        self, framed: Framed, *, key: bytes, masked: Masked | None = None, **fields: object
    ) -> None:
        """Adds a row; slots that nothing is said of stay 0."""
        row = np.zeros((), self._dtype)
        ids = framed.ids if masked is None else masked.ids
        row["key"] = np.frombuffer(key, np.uint8)
        row["ids"][: len(ids)] = ids
        row["num_tokens"] = len(ids)
        row["segment_split"] = framed.split
        if masked is not None:
            count = len(masked.positions)
            row["mask_positions"][:count] = masked.positions
            row["mask_ids"][:count] = masked.true_ids
            row["num_masked"] = count
        for name, value in fields.items():
            row[name] = value
        self._rows.append(row)

    def array(self) -> npt.NDArray[Any]:
        """Returns all rows (N,)."""
        return np.array(self._rows, self._dtype)
