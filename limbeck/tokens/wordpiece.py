"""WordPiece as BERT does it, through the `tokenizers` library.

Text that looks like a special token is text: "[MASK]" in a page becomes the pieces of its
characters, never the id of [MASK], so that no page can forge the structure of an example.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

# One process uses one thread: stages run several processes, a thread pool does not survive a fork,
# and the library would warn about it. A user's own setting wins.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import tokenizers  # noqa: E402
from tokenizers import models, normalizers, pre_tokenizers  # noqa: E402

from limbeck.tokens.vocabulary import read_vocabulary  # noqa: E402

__all__ = ["MAX_WORD_CHARACTERS", "WordPiece"]

MAX_WORD_CHARACTERS = 100
"""Longer words are [UNK]; the value of the released BERT tokenizers."""


class WordPiece:
    """Text <-> ids of a WordPiece vocabulary, without special tokens around them."""

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        lower_case: bool = True,
        *,
        expected_size: int | None = None,
    ) -> None:
        """Reads and checks the vocabulary.

        Args:
          vocab_file: one token a line.
          lower_case: lower-case the text and strip accents, as uncased models want it.
          expected_size: number of tokens the file must have; None for any.
        """
        self.vocab_file = os.fspath(vocab_file)
        self.lower_case = lower_case
        self._tokens = read_vocabulary(vocab_file, expected_size=expected_size)
        vocabulary = {token: number for number, token in enumerate(self._tokens)}
        self.vocab_size = len(self._tokens)
        self.pad_id = vocabulary["[PAD]"]
        self.unk_id = vocabulary["[UNK]"]
        self.cls_id = vocabulary["[CLS]"]
        self.sep_id = vocabulary["[SEP]"]
        self.mask_id = vocabulary["[MASK]"]
        self._engine = _engine(vocabulary, lower_case)

    def __reduce__(self) -> tuple[Any, ...]:
        """Ships as the file's path: a copy in another process reads and checks it again."""
        return WordPiece, (self.vocab_file, self.lower_case)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text; an empty list where nothing is left of it."""
        encodings = self._engine.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text: pieces joined to words, words by spaces. For people's eyes."""
        words: list[str] = []
        for token in map(self.token, ids):
            if token.startswith("##") and words:
                words[-1] += token[2:]
            else:
                words.append(token)
        return " ".join(words)

    def token(self, number: int) -> str:
        """Returns the token of an id.

        Raises:
          IndexError: there is no such id.
        """
        if not 0 <= number < self.vocab_size:
            raise IndexError(
                f"token id {number}; the vocabulary has ids 0 to {self.vocab_size - 1}"
            )
        return self._tokens[number]

    def fingerprint(self) -> str:
        """Returns the SHA-256, in hex, of everything that decides which ids a text gets."""
        settings = {
            "kind": "wordpiece",
            "lower_case": self.lower_case,
            "max_word_characters": MAX_WORD_CHARACTERS,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode() + b"\n")
        digest.update("\n".join(self._tokens).encode())
        return digest.hexdigest()

    def info(self) -> dict[str, Any]:
        """Returns what manifests say about the tokenizer."""
        return {
            "kind": "wordpiece",
            "fingerprint": self.fingerprint(),
            "vocab_size": self.vocab_size,
            "lower_case": self.lower_case,
        }


def _engine(vocabulary: dict[str, int], lower_case: bool) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(
        models.WordPiece(
            vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS
        )
    )
    engine.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower_case
    )
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return engine
