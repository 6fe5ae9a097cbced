"""`tokenizer.json`: any tokenizer of the `tokenizers` library, whatever model is inside.

The library finds special tokens in text, and a unigram or whole-word model finds them in its own
vocabulary too. Both are taken away: the special tokens are renamed before the engine is made, to
names that text cannot hold. Words that were added but are not special are found as before.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers

from limbeck.config.errors import LimbeckError
from limbeck.tokens.byte_bpe import vocabulary_by_id
from limbeck.tokens.configuration import config_file, read_json, role_fields, special_ids
from limbeck.tokens.engine import EngineTokenizer

__all__ = ["FILE_NAME", "TokenizerFile", "read_tokenizer_file"]

FILE_NAME = "tokenizer.json"

# A noncharacter (Unicode keeps them for internal use, and no normalisation makes one) begins what
# special tokens are renamed to; in text it becomes its neighbour.
_SHIELD = "\ufdd0"
_HARMLESS = "\ufdd1"

# What a file says beside what decides about ids.
_LEFT_OUT = ("version", "truncation", "padding", "post_processor", "decoder")


class TokenizerFile(EngineTokenizer):
    """Text <-> ids of a `tokenizer.json`, without special tokens around them."""

    def __init__(
        self, content: str, *, config: Mapping[str, Any] | None = None, where: str = FILE_NAME
    ) -> None:
        """Reads the content of a file; `read_tokenizer_file` does it from the file.

        Args:
          content: the file's text.
          config: which tokens have which role; from `read_config`.
          where: file, for messages.

        Raises:
          LimbeckError: it is no such file, or its ids have gaps.
        """
        self._content = content
        self._config = dict(config or {})
        facts = json.loads(content)
        model = facts.get("model")
        if not isinstance(model, dict) or "vocab" not in model:
            raise LimbeckError(f"{where}: no model with a vocabulary in it; is it a tokenizer's?")
        if model.get("dropout"):
            raise LimbeckError(
                f"{where}: BPE with dropout {model['dropout']} gives other ids each time; set "
                "its dropout to null"
            )
        self.model_kind = str(model.get("type") or _guess_kind(model))
        vocabulary = _vocabulary(facts)
        tokens = vocabulary_by_id(vocabulary, where=where)
        special = special_ids(self._config, vocabulary, where=where)
        hidden = {token["content"] for token in _added(facts) if token.get("special")}
        hidden |= {tokens[number] for number in special.known().values()}
        try:
            engine = tokenizers.Tokenizer.from_str(json.dumps(_shielded(facts, hidden)))
        except Exception as error:  # the library raises nothing narrower
            raise LimbeckError(f"{where}: {error}") from None
        engine.encode_special_tokens = True
        super().__init__(engine, tokens=tokens, special=special)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._content, self._config)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text; an empty list where nothing is left of it."""
        return super().encode([text.replace(_SHIELD, _HARMLESS) for text in texts])

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns ids and (begin, end) in characters of `text`, without white space around."""
        return super().encode_with_offsets(text.replace(_SHIELD, _HARMLESS))

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text; special tokens by their names. For people's eyes."""
        special = set(self.special.known().values())
        parts: list[str] = []
        run: list[int] = []
        for number in ids:
            if number not in special:
                run.append(number)
                continue
            parts += [super().decode(run), self.token(number)]
            run = []
        parts.append(super().decode(run))
        return " ".join(part for part in parts if part)

    def fingerprint(self) -> str:
        """Returns the SHA-256, in hex, of everything that decides which ids a text gets."""
        facts = {k: v for k, v in json.loads(self._content).items() if k not in _LEFT_OUT}
        if "merges" in facts["model"]:
            facts["model"]["merges"] = [_merge(merge) for merge in facts["model"]["merges"]]
        canonical = {"kind": "tokenizer_json", "special": self.special.known(), "file": facts}
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def info(self) -> dict[str, Any]:
        """Returns what manifests say about the tokenizer."""
        return {
            "kind": "tokenizer_json",
            "fingerprint": self.fingerprint(),
            "vocab_size": self.vocab_size,
            "model": self.model_kind,
        }

    def files(self) -> dict[str, bytes]:
        """Returns the files of its folder by name."""
        config = role_fields(self.special, self._tokens)
        if "tokenizer_class" in self._config:
            config["tokenizer_class"] = self._config["tokenizer_class"]
        return {FILE_NAME: self._content.encode(), **config_file(config, self.info())}


def _restore(content: str, config: dict[str, Any]) -> TokenizerFile:
    return TokenizerFile(content, config=config)


def read_tokenizer_file(path: str | os.PathLike[str], config: Mapping[str, Any]) -> TokenizerFile:
    """Reads a `tokenizer.json`.

    Args:
      path: the file.
      config: from `read_config`.

    Raises:
      LimbeckError: it is no such file, or its ids have gaps.
    """
    read_json(path)  # one clear error where it is not JSON
    with open(path, encoding="utf-8") as file:
        return TokenizerFile(file.read(), config=config, where=os.fspath(path))


def _guess_kind(model: Mapping[str, Any]) -> str:
    return "BPE" if "merges" in model else "Unigram" if isinstance(model["vocab"], list) else "?"


def _added(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(facts.get("added_tokens") or [])


def _vocabulary(facts: Mapping[str, Any]) -> dict[str, int]:
    """Returns token -> id, added tokens included."""
    vocab = facts["model"]["vocab"]
    if isinstance(vocab, list):
        result = {token: number for number, (token, _) in enumerate(vocab)}
    else:
        result = dict(vocab)
    return {**result, **{token["content"]: token["id"] for token in _added(facts)}}


def _shielded(facts: Mapping[str, Any], hidden: set[str]) -> dict[str, Any]:
    """Returns the file's content with other names for `hidden`, and without what adds tokens."""
    names = {token: f"{_SHIELD}{number}" for number, token in enumerate(sorted(hidden))}
    model = dict(facts["model"])
    vocab = model["vocab"]
    if isinstance(vocab, list):
        model["vocab"] = [[names.get(token, token), score] for token, score in vocab]
    else:
        model["vocab"] = {names.get(token, token): number for token, number in vocab.items()}
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = (_merge(merge) for merge in model["merges"])
        model["merges"] = [p for p in pairs if not hidden & {p[0], p[1], p[0] + p[1]}]
    added = [
        {**token, "content": names.get(token["content"], token["content"])}
        for token in _added(facts)
    ]
    kept = {k: v for k, v in facts.items() if k not in ("truncation", "padding", "post_processor")}
    return {**kept, "added_tokens": added, "model": model}


def _merge(merge: Any) -> list[str]:
    """Returns the two tokens of a merge, however the file's version writes it."""
    return merge.split(" ") if isinstance(merge, str) else list(merge)
