"""Tokenizer folders of every kind, as checkpoints have them; a folder's files tell its kind.

What Limbeck writes is also what `transformers` reads; its own facts stand under `limbeck` in
`tokenizer_config.json`. A class that `transformers` reads in another way than its files suggest
(BertJapaneseTokenizer has a vocab.txt, Qwen2Tokenizer a merges.txt) is read from `tokenizer.json`.
"""

import os
from collections.abc import Mapping
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.files import atomic_write
from limbeck.tokens.byte_bpe import MERGES_NAMES, VOCAB_NAMES, read_byte_bpe
from limbeck.tokens.configuration import (
    CONFIG_NAME,
    extend_tokens,
    flag,
    read_config,
    read_json,
)
from limbeck.tokens.sentence_piece import read_sentencepiece
from limbeck.tokens.tokenizer import Tokenizer
from limbeck.tokens.tokenizer_file import FILE_NAME, read_tokenizer_file
from limbeck.tokens.wordpiece import VOCAB_NAME, WordPiece

__all__ = ["CONFIG_NAME", "VOCAB_NAME", "holds_tokenizer", "load_tokenizer", "save_tokenizer"]

_MODEL_NAMES = ("tokenizer.model", "spiece.model", "spm.model", "sentencepiece.bpe.model")

# Which classes of transformers the kinds of files may belong to; "" is a folder that names none.
_WORDPIECE_CLASSES = frozenset({"", "Bert", "DistilBert", "Electra", "MobileBert", "RetriBert"})
_BYTE_BPE_CLASSES = frozenset({"", "GPT2", "Roberta", "Longformer", "Bart", "LED"})
_PLAIN_CLASSES = frozenset({"", "Albert", "Llama"})
_FAIRSEQ_CLASSES = frozenset({"XLMRoberta", "XLMRobertaXL"})


def load_tokenizer(
    path: str | os.PathLike[str],
    *,
    lower_case: bool | None = None,
    expected_size: int | None = None,
) -> Tokenizer:
    """Loads the tokenizer of a folder (ours or a checkpoint's), or of a lone vocabulary file.

    Args:
      path: a folder; or a `vocab.txt`, a SentencePiece model (`*.model`) or a `tokenizer.json`.
      lower_case: for WordPiece: None takes the folder's own setting, True where there is none.
        The other kinds do what their files say; None is all that may be asked of them.
      expected_size: number of tokens the vocabulary must have; None for any.

    Returns:
      A `Tokenizer`; of WordPiece with its further attributes.

    Raises:
      LimbeckError: a file is missing or damaged, the kind cannot be told, or a setting is another
        than `lower_case`.
    """
    path = os.fspath(path)
    tokenizer = _load_folder(path, lower_case) if os.path.isdir(path) else _load(path, lower_case)
    if lower_case is not None and not isinstance(tokenizer, WordPiece):
        raise UsageError(
            f"{path}: lower_case {lower_case} has no effect on a tokenizer of this kind, which "
            "does what its files say; leave it out"
        )
    if expected_size is not None and tokenizer.vocab_size != expected_size:
        raise LimbeckError(
            f"{path}: {tokenizer.vocab_size} tokens where {expected_size} are expected; "
            "is it another model's?"
        )
    return tokenizer


def holds_tokenizer(directory: str | os.PathLike[str]) -> bool:
    """Says whether a folder holds the files of a tokenizer, of any kind."""
    names = (VOCAB_NAME, FILE_NAME, *VOCAB_NAMES, *_MODEL_NAMES)
    return any(os.path.exists(os.path.join(directory, name)) for name in names)


def save_tokenizer(tokenizer: Tokenizer, directory: str | os.PathLike[str]) -> None:
    """Writes a tokenizer folder; one that is there already must be the same.

    Raises:
      UsageError: the folder holds another tokenizer.
    """
    os.makedirs(directory, exist_ok=True)
    files = tokenizer.files()
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


def _load(path: str, lower_case: bool | None) -> Tokenizer:
    """Loads from a lone file; its name tells the kind."""
    name = os.path.basename(path)
    if name == "sentencepiece.bpe.model":
        raise LimbeckError(
            f"{path}: models of this name have shifted ids; name the folder, with a "
            f"{CONFIG_NAME} that says its tokenizer_class (XLMRobertaTokenizer)"
        )
    if name.endswith(".model"):
        return read_sentencepiece(path, {})
    if name in (*VOCAB_NAMES, *MERGES_NAMES):
        raise LimbeckError(f"{path}: a byte-level BPE has two files; name their folder")
    if name.endswith(".json"):
        return read_tokenizer_file(path, {})
    return WordPiece(path, lower_case is not False)


def _load_folder(path: str, lower_case: bool | None) -> Tokenizer:
    config = read_config(path)
    tokenizer = _of_kind(path, config, lower_case)
    info = config.get("limbeck")
    if isinstance(info, dict) and info.get("fingerprint") != tokenizer.fingerprint():
        raise LimbeckError(
            f"{path}: the vocabulary or a setting was changed since {CONFIG_NAME} was written "
            f"(fingerprint {tokenizer.fingerprint()[:12]}, then {info.get('fingerprint')!s:.12})"
        )
    return tokenizer


def _of_kind(path: str, config: Mapping[str, Any], lower_case: bool | None) -> Tokenizer:
    """Loads what a folder holds, by the first of its files whose class may be read so."""
    name = str(config.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")
    vocab_json = _first_there(path, VOCAB_NAMES)
    merges = _first_there(path, MERGES_NAMES)
    model = _first_there(path, _MODEL_NAMES)
    if os.path.exists(os.path.join(path, VOCAB_NAME)) and name in _WORDPIECE_CLASSES:
        return _load_wordpiece(path, config, lower_case)
    if vocab_json and merges and name in _BYTE_BPE_CLASSES:
        return read_byte_bpe(vocab_json, merges, config)
    if model and name in _FAIRSEQ_CLASSES:
        return read_sentencepiece(model, config, convention="fairseq")
    if model and name in _PLAIN_CLASSES and not model.endswith("sentencepiece.bpe.model"):
        return read_sentencepiece(model, config)
    if os.path.exists(os.path.join(path, FILE_NAME)):
        return read_tokenizer_file(os.path.join(path, FILE_NAME), config)
    raise LimbeckError(_unknown_kind(path, name, bool(vocab_json), bool(merges), model))


def _first_there(path: str, names: tuple[str, ...]) -> str:
    """Returns the path of the first of these files that is there; empty where none is."""
    paths = (os.path.join(path, name) for name in names)
    return next((p for p in paths if os.path.exists(p)), "")


def _unknown_kind(path: str, name: str, vocab_json: bool, merges: bool, model: str) -> str:
    if vocab_json != merges:
        there, lacking = (
            ("vocab.json", "merges.txt") if vocab_json else ("merges.txt", "vocab.json")
        )
        return f"{path}: {there} without {lacking}; a byte-level BPE needs both"
    if name:
        return (
            f"{path}: tokenizer_class is {name}Tokenizer, which cannot be read from the files "
            f"there; it needs a {FILE_NAME}"
        )
    if model:
        return (
            f"{path}: models named {os.path.basename(model)} have shifted ids; say the "
            f"tokenizer_class (such as XLMRobertaTokenizer) in {CONFIG_NAME}"
        )
    return (
        f"{path}: no tokenizer in it; expected {VOCAB_NAME} (WordPiece), vocab.json and "
        f"merges.txt (byte-level BPE), {', '.join(_MODEL_NAMES)} (SentencePiece) or {FILE_NAME}"
    )


def _load_wordpiece(path: str, config: Mapping[str, Any], lower_case: bool | None) -> WordPiece:
    config_path = os.path.join(path, CONFIG_NAME)
    default = _lower_case_of_file(os.path.join(path, FILE_NAME), default=lower_case is not False)
    own = bool(flag(config, "do_lower_case", default, where=config_path))
    if lower_case is not None and own != lower_case:
        raise LimbeckError(
            f"{config_path}: do_lower_case is {own} there; {lower_case} was asked for"
        )
    tokenizer = WordPiece(
        os.path.join(path, VOCAB_NAME),
        own,
        strip_accents=flag(config, "strip_accents", None, where=config_path),
        split_chinese=bool(flag(config, "tokenize_chinese_chars", True, where=config_path)),
    )
    tokens = [tokenizer.token(number) for number in range(tokenizer.vocab_size)]
    extended = extend_tokens(tokens, config, where=tokenizer.vocab_file)
    if len(extended) > len(tokens):
        raise LimbeckError(
            f"{tokenizer.vocab_file}: the configuration adds {extended[len(tokens)]!r} behind its "
            f"{len(tokens)} tokens; put added tokens into the file"
        )
    return tokenizer


def _lower_case_of_file(path: str, *, default: bool) -> bool:
    """Returns what a `tokenizer.json` beside a silent configuration says about lower-casing."""
    if not os.path.exists(path):
        return default
    normalizer = read_json(path).get("normalizer") or {}
    return bool(normalizer.get("lowercase", default)) if isinstance(normalizer, dict) else default
