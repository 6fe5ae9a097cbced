"""WordPiece as BERT does it, through the `tokenizers` library.

Text that looks like a special token is text: "[MASK]" in a page becomes the pieces of its
characters, never the id of [MASK], so that no page can forge the structure of an example.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from limbeck.tokens.acceleration import accelerated
from limbeck.tokens.configuration import config_file
from limbeck.tokens.engine import EngineTokenizer
from limbeck.tokens.tokenizer import SpecialIds
from limbeck.tokens.vocabulary import read_vocabulary

__all__ = ["MAX_WORD_CHARACTERS", "VOCAB_NAME", "WordPiece"]

VOCAB_NAME = "vocab.txt"

MAX_WORD_CHARACTERS = 100
"""Longer words are [UNK]; the value of the released BERT tokenizers."""


class WordPiece(EngineTokenizer):
    """Text <-> ids of a WordPiece vocabulary, without special tokens around them."""

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        lower_case: bool = True,
        *,
        strip_accents: bool | None = None,
        split_chinese: bool = True,
        accelerate: bool = True,
        expected_size: int | None = None,
    ) -> None:
        """Reads and checks the vocabulary.

        Args:
          vocab_file: one token a line.
          lower_case: lower-case the text, as uncased models want it.
          strip_accents: take accents off; None does as `lower_case` does.
          split_chinese: make each Chinese character a word (`tokenize_chinese_chars`).
          accelerate: encode through `nanotoken` where it is installed and gives the same ids.
          expected_size: number of tokens the file must have; None for any.
        """
        self.vocab_file = os.fspath(vocab_file)
        self.lower_case = lower_case
        self.strip_accents = lower_case if strip_accents is None else strip_accents
        self.split_chinese = split_chinese
        tokens = read_vocabulary(vocab_file, expected_size=expected_size)
        vocabulary = {token: number for number, token in enumerate(tokens)}
        self.pad_id = vocabulary["[PAD]"]
        self.unk_id = vocabulary["[UNK]"]
        self.cls_id = vocabulary["[CLS]"]
        self.sep_id = vocabulary["[SEP]"]
        self.mask_id = vocabulary["[MASK]"]
        special = SpecialIds(
            pad=self.pad_id, unk=self.unk_id, cls=self.cls_id, sep=self.sep_id, mask=self.mask_id
        )
        super().__init__(self._engine_of(vocabulary), tokens=tokens, special=special)
        self._accelerated = accelerated(self._engine) if accelerate else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Ships as the file's path: a copy in another process reads and checks it again."""
        settings = (self.lower_case, self.strip_accents, self.split_chinese)
        return _restore, (self.vocab_file, *settings, self._accelerated is not None)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text; an empty list where nothing is left of it."""
        if self._accelerated is not None:
            return self._accelerated(list(texts))
        return super().encode(texts)

    def _engine_of(self, vocabulary: dict[str, int]) -> tokenizers.Tokenizer:
        engine = tokenizers.Tokenizer(
            models.WordPiece(
                vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS
            )
        )
        engine.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.split_chinese,
            strip_accents=self.strip_accents,
            lowercase=self.lower_case,
        )
        engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return engine

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """(V,) True for all tokens but those that begin with "##"."""
        continues = (token.startswith("##") for token in self._tokens)
        return ~np.fromiter(continues, bool, self.vocab_size)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text: pieces joined to words, words by spaces. For people's eyes."""
        words: list[str] = []
        for token in map(self.token, ids):
            if token.startswith("##") and words:
                words[-1] += token[2:]
            else:
                words.append(token)
        return " ".join(words)

    def fingerprint(self) -> str:
        """Returns the SHA-256, in hex, of everything that decides which ids a text gets."""
        settings = {
            "kind": "wordpiece",
            "lower_case": self.lower_case,
            "max_word_characters": MAX_WORD_CHARACTERS,
            **self._unusual(),
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
            **self._unusual(),
        }

    def files(self) -> dict[str, bytes]:
        """Returns the files of its folder by name, as `transformers` reads them too."""
        config = {
            **{f"{name}_token": f"[{name.upper()}]" for name in self.special.known()},
            "do_lower_case": self.lower_case,
            "strip_accents": None if self.strip_accents == self.lower_case else self.strip_accents,
            "tokenize_chinese_chars": self.split_chinese,
            "tokenizer_class": "BertTokenizer",
        }
        return {
            VOCAB_NAME: "".join(f"{token}\n" for token in self._tokens).encode(),
            **config_file(config, self.info()),
        }

    def _unusual(self) -> dict[str, Any]:
        """Returns the settings that are not as in every released BERT, where there are any."""
        settings: dict[str, Any] = {}
        if self.strip_accents != self.lower_case:
            settings["strip_accents"] = self.strip_accents
        if not self.split_chinese:
            settings["tokenize_chinese_chars"] = False
        return settings


def _restore(
    vocab_file: str, lower_case: bool, strip_accents: bool, split_chinese: bool, accelerate: bool
) -> WordPiece:
    return WordPiece(
        vocab_file,
        lower_case,
        strip_accents=strip_accents,
        split_chinese=split_chinese,
        accelerate=accelerate,
    )
