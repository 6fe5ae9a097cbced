"""Tokenizers of three families in a few lines, and documents of known tokens."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from limbeck.records.keys import make_key
from limbeck.tokens.tokenizer import SpecialIds
from prep.kinds.rows import TokenisedDocument

VOCAB_SIZE = 5000

SPECIALS = {
    "bert": SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103),
    "roberta": SpecialIds(pad=1, unk=3, cls=0, sep=2, mask=4, bos=0, eos=2),
    "gpt2": SpecialIds(bos=4999, eos=4999),
    "maskless": SpecialIds(pad=0, unk=100, cls=101, sep=102),
}


class ToyTokenizer:
    """A word is one id, its hash; ids 1,000 and up are words, and every third continues a word."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.vocab_size = VOCAB_SIZE
        self.special = SPECIALS[family]

    @property
    def word_starts(self) -> np.ndarray:
        ids = np.arange(VOCAB_SIZE)
        return (ids < 1000) | (ids % 3 != 0)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._id(word) for word in text.split()] for text in texts]

    def _id(self, word: str) -> int:
        return 1000 + int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % 3900

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        return self.encode(words)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(map(str, ids))

    def token(self, number: int) -> str:
        return "<s>" if self.family == "roberta" and number == 0 else f"token {number}"

    def fingerprint(self) -> str:
        return self.family

    def info(self) -> dict[str, Any]:
        return {"kind": self.family, "fingerprint": self.family, "vocab_size": VOCAB_SIZE}

    def files(self) -> dict[str, bytes]:
        return {}


@pytest.fixture(scope="session")
def toy() -> Callable[[str], ToyTokenizer]:
    """Returns the tokenizer of a family."""
    return ToyTokenizer


def _document(page: int, lengths: Sequence[int]) -> TokenisedDocument:
    start = 1000 + 100 * page
    sentences = []
    for length in lengths:
        sentences.append([(start + n) % 3000 + 1000 for n in range(length)])
        start += length
    key = make_key(corpus="enwiki", page=page)
    return TokenisedDocument(row=page, key=key, sentences=sentences)


@pytest.fixture(scope="session")
def document() -> Callable[[int, Sequence[int]], TokenisedDocument]:
    """Returns a document of sentences of given lengths; its tokens depend on the page."""
    return _document


@pytest.fixture(scope="session")
def columns() -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns structured rows as `check_examples` wants them."""
    return lambda rows: {n: np.ascontiguousarray(rows[n]) for n in rows.dtype.names}


def _unmasked(row: Any) -> np.ndarray:
    ids = row["ids"].astype(int)
    if "num_masked" in row.dtype.names:
        count = int(row["num_masked"])
        ids[row["mask_positions"][:count].astype(int)] = row["mask_ids"][:count]
    return ids[: int(row["num_tokens"])]


@pytest.fixture(scope="session")
def unmasked() -> Callable[[Any], np.ndarray]:
    """Returns the true tokens of a row."""
    return _unmasked
