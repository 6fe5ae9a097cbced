"""What every tokenizer does, whatever its family: one small interface.

Encoding never adds special tokens and never finds them: text that looks like a special token, such
as "[MASK]" or "</s>", is text, so that no page can forge the structure of an example.
"""

# V vocabulary

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["SpecialIds", "Tokenizer"]


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """Ids with a meaning of their own; None where the vocabulary has no such token."""

    pad: int | None = None
    """Fills rows up."""
    unk: int | None = None
    """Stands for what the vocabulary cannot say."""
    cls: int | None = None
    """Begins an example; RoBERTa's <s>."""
    sep: int | None = None
    """Ends a segment; RoBERTa's </s>."""
    mask: int | None = None
    """Stands for a token to predict."""
    bos: int | None = None
    """Begins a text."""
    eos: int | None = None
    """Ends a text."""

    def known(self) -> dict[str, int]:
        """Returns the ids that there are, by name."""
        return {name: number for name, number in asdict(self).items() if number is not None}


class Tokenizer(Protocol):
    """Text <-> ids. Implementations can be pickled and sent to another process."""

    @property
    def vocab_size(self) -> int:
        """Number of ids V; they count from 0."""
        ...

    @property
    def special(self) -> SpecialIds:
        """Ids with a meaning of their own."""
        ...

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """(V,) True where a piece begins a word; True for special ids."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text, without special tokens; [] where nothing is left of it."""
        ...

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the pieces of each word of a sentence that is cut into words already.

        A word after the first gets its leading space where the family marks it.
        """
        ...

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of a text and where each stands: (begin, end) in characters of `text`."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text of ids. For people's eyes."""
        ...

    def token(self, number: int) -> str:
        """Returns the token of an id, as the vocabulary spells it.

        Raises:
          IndexError: there is no such id.
        """
        ...

    def fingerprint(self) -> str:
        """Returns the SHA-256, in hex, of everything that decides which ids a text gets."""
        ...

    def info(self) -> dict[str, Any]:
        """Returns what manifests say: kind, fingerprint, vocab_size and the family's settings."""
        ...

    def files(self) -> dict[str, bytes]:
        """Returns the files of its folder by name; reading them gives the same tokenizer."""
        ...
