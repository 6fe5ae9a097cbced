"""Tokenizer folders: `vocab.txt` beside `tokenizer_config.json`, as checkpoints have them.

What Limbeck writes is also what `transformers` reads; its own facts stand under `limbeck`.
"""

import json
import os
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.files import atomic_write
from limbeck.tokens.wordpiece import WordPiece

__all__ = ["CONFIG_NAME", "VOCAB_NAME", "load_tokenizer", "save_tokenizer"]

VOCAB_NAME = "vocab.txt"
CONFIG_NAME = "tokenizer_config.json"


def load_tokenizer(
    path: str | os.PathLike[str],
    *,
    lower_case: bool | None = None,
    expected_size: int | None = None,
) -> WordPiece:
    """Loads the tokenizer of a folder (ours or a checkpoint's), or of a lone vocabulary file.

    Args:
      path: a folder with `vocab.txt`, or a vocabulary file.
      lower_case: None takes the folder's own setting; True where there is none.
      expected_size: number of tokens the vocabulary must have; None for any.

    Raises:
      LimbeckError: a file is missing or damaged, or says something else than `lower_case`.
    """
    path = os.fspath(path)
    if not os.path.isdir(path):
        return WordPiece(path, lower_case is not False, expected_size=expected_size)
    vocab_file = os.path.join(path, VOCAB_NAME)
    if not os.path.exists(vocab_file):
        raise LimbeckError(f"{path}: no {VOCAB_NAME} in it; WordPiece needs its vocabulary file")
    config_file = os.path.join(path, CONFIG_NAME)
    config = _read_config(config_file) if os.path.exists(config_file) else {}
    own = config.get("do_lower_case", lower_case is not False)
    if lower_case is not None and own != lower_case:
        raise LimbeckError(
            f"{config_file}: do_lower_case is {own} there; {lower_case} was asked for"
        )
    tokenizer = WordPiece(vocab_file, own, expected_size=expected_size)
    _check_ours(path, tokenizer, config.get("limbeck"))
    return tokenizer


def save_tokenizer(tokenizer: WordPiece, directory: str | os.PathLike[str]) -> None:
    """Writes a tokenizer folder; one that is there already must be the same.

    Raises:
      UsageError: the folder holds another tokenizer.
    """
    os.makedirs(directory, exist_ok=True)
    files = _files(tokenizer)
    for name, data in files.items():
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(path, "rb") as file:
                if file.read() != data:
                    raise UsageError(
                        f"{path}: belongs to another tokenizer; choose another directory or "
                        "delete it"
                    )
    for name, data in files.items():
        path = os.path.join(directory, name)
        if not os.path.exists(path):
            atomic_write(path, data)


def _files(tokenizer: WordPiece) -> dict[str, bytes]:
    """Returns the files of a tokenizer folder."""
    config = {
        "cls_token": "[CLS]",
        "do_lower_case": tokenizer.lower_case,
        "limbeck": tokenizer.info(),
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "unk_token": "[UNK]",
    }
    tokens = (tokenizer.token(number) for number in range(tokenizer.vocab_size))
    return {
        VOCAB_NAME: "".join(f"{token}\n" for token in tokens).encode(),
        CONFIG_NAME: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
    }


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except ValueError as error:
        raise LimbeckError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise LimbeckError(f"{path}: holds a {type(config).__name__}; expected a JSON object")
    lower_case = config.get("do_lower_case", True)
    if not isinstance(lower_case, bool):
        raise LimbeckError(f"{path}: do_lower_case is {lower_case!r}; expected true or false")
    for name, accepted in (
        ("strip_accents", (None, lower_case)),
        ("tokenize_chinese_chars", (None, True)),
    ):
        if config.get(name) not in accepted:
            raise LimbeckError(
                f"{path}: {name} is {config[name]!r}; only {accepted[-1]!r} is supported here"
            )
    return config


def _check_ours(path: str, tokenizer: WordPiece, info: Any) -> None:
    if isinstance(info, dict) and info.get("fingerprint") != tokenizer.fingerprint():
        raise LimbeckError(
            f"{path}: {VOCAB_NAME} or a setting was changed since {CONFIG_NAME} was written "
            f"(fingerprint {tokenizer.fingerprint()[:12]}, then {info.get('fingerprint')!s:.12})"
        )
