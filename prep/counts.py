"""How often each id occurs in a corpus; `limbeck.tokens.counts` reads the file."""

# V vocabulary

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.records.files import atomic_write
from limbeck.tokens.counts import COUNTS_FORMAT

__all__ = ["COUNTS_NAME", "count_tokens", "write_counts"]

COUNTS_NAME = "token_counts.json"


def count_tokens(rows: Iterable[Sequence[int]]) -> npt.NDArray[np.int64]:
    """Returns how often each id occurs in rows of ids: int64, up to the largest id there is."""
    ids = np.fromiter((number for row in rows for number in row), np.int64)
    return np.bincount(ids).astype(np.int64)


def write_counts(
    path: str | os.PathLike[str],
    counts: npt.NDArray[np.int64],
    *,
    tokenizer: Mapping[str, Any],
    source: Mapping[str, Any],
) -> None:
    """Writes the counts, whole or not at all.

    Args:
      path: the file.
      counts: (V,).
      tokenizer: what `Tokenizer.info` says.
      source: what was counted, for the record.
    """
    value = {
        "format": COUNTS_FORMAT,
        "source": dict(source),
        "tokenizer": dict(tokenizer),
        "total": int(counts.sum(dtype=np.int64)),
        "counts": counts.tolist(),
    }
    atomic_write(path, (json.dumps(value) + "\n").encode())
