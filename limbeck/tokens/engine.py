"""What the tokenizers have in common that run on the `tokenizers` library."""

# V vocabulary

import os
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import tokenizers

from limbeck.tokens.tokenizer import SpecialIds

__all__ = ["SPACE_SIGNS", "EngineTokenizer", "piece_name", "trim_span", "word_starts"]

# One process uses one thread: stages run several processes, a thread pool does not survive a fork,
# and the library would warn about it (it looks when it first encodes). A user's own setting wins.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SPACE_SIGNS = ("\u0120", "\u2581")
"""How byte-level BPE and SentencePiece write the space before a word."""


class EngineTokenizer:
    """Text <-> ids through an engine that knows no special tokens and adds none."""

    def __init__(
        self, engine: tokenizers.Tokenizer, *, tokens: tuple[str, ...], special: SpecialIds
    ) -> None:
        """Takes what the kinds have read from their files.

        Args:
          engine: without added special tokens, post-processor, padding and truncation.
          tokens: (V,) spelling of each id.
          special: ids with a meaning of their own.
        """
        self.vocab_size = len(tokens)
        self.special = special
        self._tokens = tokens
        self._engine = engine
        self._lead = _lead(engine)

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """(V,) True where a piece begins a word; True for special ids."""
        return word_starts(self._tokens, self.special)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text; an empty list where nothing is left of it."""
        encodings = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the pieces of each word; those after the first as they follow a space."""
        return self.encode([*words[:1], *(self._lead + word for word in words[1:])])

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns ids and (begin, end) in characters of `text`, without white space around."""
        encoding = self._engine.encode(text, add_special_tokens=False)
        return encoding.ids, [trim_span(text, *span) for span in encoding.offsets]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text. For people's eyes."""
        return str(self._engine.decode(list(ids), skip_special_tokens=False))

    def token(self, number: int) -> str:
        """Returns the token of an id.

        Raises:
          IndexError: there is no such id.
        """
        return piece_name(self._tokens, number)


def piece_name(tokens: Sequence[str], number: int) -> str:
    """Returns the token of an id.

    Raises:
      IndexError: there is no such id.
    """
    if not 0 <= number < len(tokens):
        raise IndexError(f"token id {number}; the vocabulary has ids 0 to {len(tokens) - 1}")
    return tokens[number]


def word_starts(tokens: Sequence[str], special: SpecialIds) -> npt.NDArray[np.bool_]:
    """Returns (V,) True where a token begins a word: where it begins with the sign of a space."""
    starts = np.fromiter((token.startswith(SPACE_SIGNS) for token in tokens), bool, len(tokens))
    starts[list(special.known().values())] = True
    return starts


def trim_span(text: str, begin: int, end: int) -> tuple[int, int]:
    """Returns the span without white space at its ends: an empty one where there is only that."""
    inner = text[begin:end]
    begin += len(inner) - len(inner.lstrip())
    return begin, max(begin, end - len(inner) + len(inner.rstrip()))


def _lead(engine: tokenizers.Tokenizer) -> str:
    """Returns what a word must be given in front so that it reads as one after a space."""
    return "" if _first(engine, "a").startswith(SPACE_SIGNS) else _space(engine)


def _space(engine: tokenizers.Tokenizer) -> str:
    return " " if _first(engine, " a").startswith(SPACE_SIGNS) else ""


def _first(engine: tokenizers.Tokenizer, text: str) -> str:
    """Returns what the model would get to see first of a text."""
    if engine.normalizer is not None:
        text = engine.normalizer.normalize_str(text)
    if engine.pre_tokenizer is None:
        return text
    parts = engine.pre_tokenizer.pre_tokenize_str(text)
    return str(parts[0][0]) if parts else ""
