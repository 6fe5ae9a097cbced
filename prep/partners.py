"""Where a random next sentence comes from: any other document of the same split."""

# D documents of one split

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["LazyTokens", "PartnerPool", "TokenCache"]


class PartnerPool:
    """The documents of one split, by row; a partner is chosen by a hash, never by its bundle."""

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        """Takes the split's rows (D,) of the documents dataset, ascending; D is at least 2."""
        if len(rows) < 2:
            raise ValueError(f"a split of {len(rows)} documents has no partners")
        self._rows = rows

    def choose(self, own_row: int, value: int) -> int:
        """Returns the row of a document other than `own_row`.

        Args:
          own_row: the row that needs a partner; one of the split's.
          value: uniform in [0, 2**64).
        """
        place = value * (len(self._rows) - 1) >> 64
        own_place = int(np.searchsorted(self._rows, own_row))
        return int(self._rows[place + (place >= own_place)])


class LazyTokens(Sequence[Sequence[int]]):
    """Token ids of a document's sentences, made when first asked for.

    A partner gives a few sentences of many: the rest is never tokenised.
    """

    def __init__(
        self, sentences: Sequence[str], encode: Callable[[Sequence[str]], list[list[int]]]
    ) -> None:
        self._sentences = sentences
        self._encode = encode
        self._tokens: list[list[int] | None] = [None] * len(sentences)

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, position):  # type: ignore[no-untyped-def]  # int only; no slices
        tokens = self._tokens[position]
        if tokens is None:
            tokens = self._tokens[position] = self._encode([self._sentences[position]])[0]
        return tokens

    def all(self) -> list[list[int]]:
        """Returns the tokens of all sentences; missing ones are made in one batch."""
        missing = [i for i, tokens in enumerate(self._tokens) if tokens is None]
        if missing:
            encoded = self._encode([self._sentences[i] for i in missing])
            for position, tokens in zip(missing, encoded, strict=True):
                self._tokens[position] = tokens
        return [tokens for tokens in self._tokens if tokens is not None]


class TokenCache:
    """The last documents used, tokenised as far as they were needed."""

    def __init__(self, load: Callable[[int], LazyTokens], *, capacity: int = 1024) -> None:
        """Takes a function from a row to its document, and how many documents to keep."""
        self._load = load
        self._capacity = capacity
        self._documents: OrderedDict[int, LazyTokens] = OrderedDict()

    def get(self, row: int) -> LazyTokens:
        """Returns a document."""
        document = self._documents.pop(row, None)
        if document is None:
            document = self._load(row)
        self._documents[row] = document
        if len(self._documents) > self._capacity:
            self._documents.popitem(last=False)
        return document
