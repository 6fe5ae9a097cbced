"""How often each id occurs in a corpus: a file that masking in favour of rare tokens reads."""

# V vocabulary

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.files import atomic_write

__all__ = ["COUNTS_NAME", "count_tokens", "read_counts", "read_counts_file", "write_counts"]

COUNTS_NAME = "token_counts.json"

_FORMAT = 1


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
        "format": _FORMAT,
        "source": dict(source),
        "tokenizer": dict(tokenizer),
        "total": int(counts.sum(dtype=np.int64)),
        "counts": counts.tolist(),
    }
    atomic_write(path, (json.dumps(value) + "\n").encode())


def read_counts(
    path: str | os.PathLike[str], *, fingerprint: str | None = None
) -> npt.NDArray[np.int64]:
    """Returns the counts of a file: (V,) int64.

    Args:
      path: the file.
      fingerprint: of the tokenizer that the ids must belong to; None for any.

    Raises:
      UsageError: the counts are of another tokenizer.
      LimbeckError: the file is damaged.
    """
    value = read_counts_file(path)
    theirs = value["tokenizer"]["fingerprint"]
    if fingerprint is not None and theirs != fingerprint:
        raise UsageError(
            f"{path}: counts of tokenizer {theirs[:12]}, not of {fingerprint[:12]}; count again "
            "with beam_pipelines.token_counts and the tokenizer of the examples"
        )
    return np.array(value["counts"], np.int64)


def read_counts_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns all that a file of counts says, checked.

    Raises:
      LimbeckError: the file is damaged.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        value: dict[str, Any] = json.loads(data)
        counts, total = value["counts"], value["total"]
        fits = (
            value["format"] == _FORMAT
            and len(counts) == value["tokenizer"]["vocab_size"]
            and isinstance(value["tokenizer"]["fingerprint"], str)
            and all(type(count) is int and count >= 0 for count in counts)
            and sum(counts) == total
        )
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise LimbeckError(
            f"{path}: not a file of token counts, or a damaged one; make it with "
            "beam_pipelines.token_counts"
        )
    return value
