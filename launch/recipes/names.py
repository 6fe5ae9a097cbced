"""`$name` in a recipe: what an earlier step made, or what the shared base holds.

`$labels/train/sparse` is a path below the output of the step `labels`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.config.errors import UsageError

__all__ = ["BASE", "FEW", "fill", "names_in"]

FEW = 0.3  # of the pages: about 3,000 rows, and a student of minutes reads 2,560

BASE = {
    "documents": "the demo's Wikipedia pages, cleaned",
    "examples": "the demo's masked sentence pairs: train, heldout, tokenizer",
    "few": f"the same of {FEW:.0%} of the pages: train, tokenizer",
    "teacher": "the demo's masked-LM teacher, tuned from the encoder",
    "heldout_labels": "the teacher's answers on the held-out examples: sparse, hidden",
    "encoder": "the pretrained encoder, 6 layers of width 384, without a head",
    "newsgroups": "20newsgroups as files: train.tab, test.tab",
}

_NAME = re.compile(r"\$([a-z][a-z0-9_]*)")


def names_in(value: Any) -> Iterator[str]:
    """Yields the names that a text, or a tree of settings, refers to."""
    if isinstance(value, str):
        yield from _NAME.findall(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from names_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from names_in(part)


def fill(text: str, paths: Mapping[str, str]) -> str:
    """Puts paths in the place of names.

    Raises:
      UsageError: a name that is in none of `paths`.
    """

    def path(match: re.Match[str]) -> str:
        if match[1] not in paths:
            raise UsageError(f"${match[1]} is not known; known are: {', '.join(paths)}")
        return paths[match[1]]

    return _NAME.sub(path, text)
