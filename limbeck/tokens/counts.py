"""Reading a file of token counts: how often each id of a vocabulary occurs in a corpus.

`beam_pipelines.token_counts` writes it; masking in favour of rare tokens and trimmed vocabularies
read it.
"""

# V vocabulary

import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError

__all__ = ["COUNTS_FORMAT", "read_counts", "read_counts_file"]

COUNTS_FORMAT = 1
"""Of the files."""


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
      OSError: it cannot be read.
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
      OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        value: dict[str, Any] = json.loads(data)
        counts, total = value["counts"], value["total"]
        fits = (
            value["format"] == COUNTS_FORMAT
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
