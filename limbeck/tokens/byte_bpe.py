"""Byte-level BPE as GPT-2 and RoBERTa do it: every byte has a token, so nothing is unknown.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from limbeck.config.errors import LimbeckError
from limbeck.tokens.configuration import (
    config_file,
    extend_tokens,
    flag,
    read_json,
    role_fields,
    special_ids,
)
from limbeck.tokens.engine import EngineTokenizer
from limbeck.tokens.tokenizer import SpecialIds

__all__ = ["MERGES_NAMES", "VOCAB_NAMES", "ByteBPE", "read_byte_bpe", "vocabulary_by_id"]

VOCAB_NAMES = ("vocab.json", "encoder.json")
MERGES_NAMES = ("merges.txt", "vocab.bpe")


class ByteBPE(EngineTokenizer):
    """Text <-> ids of a byte-level BPE vocabulary, without special tokens around them."""

    def __init__(
        self,
        tokens: tuple[str, ...],
        merges: Sequence[tuple[str, str]],
        *,
        special: SpecialIds,
        add_prefix_space: bool = False,
    ) -> None:
        """Takes a checked vocabulary; `read_byte_bpe` reads one from files.

        Args:
          tokens: (V,) spelling of each id, bytes written as GPT-2 writes them.
          merges: pairs in the order in which they are applied.
          special: ids with a meaning of their own.
          add_prefix_space: whether the first word of a text gets a space in front.
        """
        self.merges = tuple(merges)
        self.add_prefix_space = add_prefix_space
        engine = tokenizers.Tokenizer(
            models.BPE({token: number for number, token in enumerate(tokens)}, list(merges))
        )
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
        engine.decoder = decoders.ByteLevel()
        super().__init__(engine, tokens=tokens, special=special)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._tokens, self.merges, self.special, self.add_prefix_space)

    def fingerprint(self) -> str:
        """Returns the SHA-256, in hex, of everything that decides which ids a text gets."""
        settings = {
            "kind": "byte_bpe",
            "add_prefix_space": self.add_prefix_space,
            "special": self.special.known(),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode() + b"\n")
        digest.update("\n".join(self._tokens).encode() + b"\n\n")
        digest.update(_merges_text(self.merges).encode())
        return digest.hexdigest()

    def info(self) -> dict[str, Any]:
        """Returns what manifests say about the tokenizer."""
        return {
            "kind": "byte_bpe",
            "fingerprint": self.fingerprint(),
            "vocab_size": self.vocab_size,
            "add_prefix_space": self.add_prefix_space,
        }

    def files(self) -> dict[str, bytes]:
        """Returns the files of its folder by name, as `transformers` reads them too."""
        vocabulary = {token: number for number, token in enumerate(self._tokens)}
        is_roberta = self.special.cls is not None
        config = {
            **role_fields(self.special, self._tokens),
            "add_prefix_space": self.add_prefix_space,
            "tokenizer_class": "RobertaTokenizer" if is_roberta else "GPT2Tokenizer",
        }
        return {
            VOCAB_NAMES[0]: (json.dumps(vocabulary, ensure_ascii=False) + "\n").encode(),
            MERGES_NAMES[0]: f"#version: 0.2\n{_merges_text(self.merges)}".encode(),
            **config_file(config, self.info()),
        }


def _restore(
    tokens: tuple[str, ...],
    merges: tuple[tuple[str, str], ...],
    special: SpecialIds,
    add_prefix_space: bool,
) -> ByteBPE:
    return ByteBPE(tokens, merges, special=special, add_prefix_space=add_prefix_space)


def _merges_text(merges: Sequence[tuple[str, str]]) -> str:
    return "".join(f"{left} {right}\n" for left, right in merges)


def read_byte_bpe(
    vocab_file: str | os.PathLike[str],
    merges_file: str | os.PathLike[str],
    config: Mapping[str, Any],
) -> ByteBPE:
    """Reads the two files of a byte-level BPE.

    Args:
      vocab_file: JSON, token -> id.
      merges_file: one merge a line.
      config: from `read_config`.

    Raises:
      LimbeckError: a file is damaged, or they do not fit each other.
    """
    tokens = vocabulary_by_id(read_json(vocab_file), where=os.fspath(vocab_file))
    tokens = extend_tokens(tokens, config, where=os.fspath(vocab_file))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    special = special_ids(config, vocabulary, where=os.fspath(vocab_file))
    merges = _read_merges(merges_file)
    forbidden = {tokens[number] for number in special.known().values()}
    for line, (left, right) in enumerate(merges, start=1):
        if left + right in forbidden:
            raise LimbeckError(
                f"{merges_file}: merge {line} makes the special token {left + right!r}, so that "
                "text could pass for it; take the merge out"
            )
        if missing := [part for part in (left, right, left + right) if part not in vocabulary]:
            raise LimbeckError(
                f"{merges_file}: merge {line} needs {missing[0]!r}, which {vocab_file} lacks; "
                "are they of one model?"
            )
    return ByteBPE(
        tokens,
        merges,
        special=special,
        add_prefix_space=bool(
            flag(config, "add_prefix_space", False, where="tokenizer_config.json")
        ),
    )


def vocabulary_by_id(vocabulary: Mapping[str, Any], *, where: str) -> tuple[str, ...]:
    """Returns the tokens of a token -> id table by their ids.

    Raises:
      LimbeckError: the ids are not the numbers from 0, once each.
    """
    numbers = list(vocabulary.values())
    if not numbers or not all(type(number) is int for number in numbers):
        raise LimbeckError(f"{where}: expected an object of token -> id with at least one token")
    if sorted(numbers) != list(range(len(numbers))):
        raise LimbeckError(
            f"{where}: {len(numbers)} tokens have ids from {min(numbers)} to {max(numbers)}; "
            "expected each number from 0 once"
        )
    return tuple(token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1]))


def _read_merges(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    with open(path, "rb") as file:
        data = file.read()
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise LimbeckError(f"{path}: not UTF-8; is it a file of merges?") from None
    begin = 1 if lines[0].startswith("#version") else 0
    merges = []
    for number, line in enumerate(lines[begin:], start=begin + 1):
        if not line.strip():
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2 or not all(parts):
            raise LimbeckError(f"{path}: line {number} is {line!r}; expected two tokens")
        merges.append((parts[0], parts[1]))
    return merges
