"""The JSON files of a tokenizer folder that say which tokens are special and how text is treated.

`tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` are those of
`transformers`; Limbeck's own facts stand under `limbeck` in the first.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.config.errors import LimbeckError
from limbeck.tokens.tokenizer import SpecialIds

__all__ = [
    "CONFIG_NAME",
    "config_file",
    "extend_tokens",
    "flag",
    "read_config",
    "read_json",
    "role_fields",
    "special_ids",
]

CONFIG_NAME = "tokenizer_config.json"
SPECIAL_MAP_NAME = "special_tokens_map.json"
ADDED_NAME = "added_tokens.json"

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")

# What a role's token is called where no file says so: BERT's way, RoBERTa's and GPT-2's.
_USUAL = (
    {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    {
        "pad": "<pad>",
        "unk": "<unk>",
        "cls": "<s>",
        "sep": "</s>",
        "mask": "<mask>",
        "bos": "<s>",
        "eos": "</s>",
    },
    {"unk": "<|endoftext|>", "bos": "<|endoftext|>", "eos": "<|endoftext|>"},
    {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    {"unk": "<unk>", "bos": "<s>", "eos": "</s>"},
    {"unk": "<unk>"},
)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a file that holds a JSON object.

    Raises:
      LimbeckError: it holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except ValueError as error:
        raise LimbeckError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise LimbeckError(f"{path}: holds a {type(value).__name__}; expected a JSON object")
    return value


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns `tokenizer_config.json`, with what the other two files add; {} without any.

    `special_tokens_map.json` says which token has which role, and `added_tokens.json` (token ->
    id) goes into `added_tokens_decoder` (id -> facts), its newer form.
    """
    config = _read_if_there(directory, CONFIG_NAME)
    for name, token in _read_if_there(directory, SPECIAL_MAP_NAME).items():
        if config.get(name) is None:
            config[name] = token
    decoder = dict(config.get("added_tokens_decoder") or {})
    for token, number in _read_if_there(directory, ADDED_NAME).items():
        decoder.setdefault(str(number), {"content": token})
    if decoder:
        config["added_tokens_decoder"] = decoder
    return config


def _read_if_there(directory: str | os.PathLike[str], name: str) -> dict[str, Any]:
    path = os.path.join(directory, name)
    return read_json(path) if os.path.exists(path) else {}


def extend_tokens(
    tokens: Sequence[str], config: Mapping[str, Any], *, where: str
) -> tuple[str, ...]:
    """Returns a vocabulary with the special tokens that a configuration adds behind it.

    Raises:
      LimbeckError: an added token has the id of another, leaves a gap, or is not special, so that
        it would have to be found in text.
    """
    extended = list(tokens)
    decoder = config.get("added_tokens_decoder") or {}
    for number, facts in sorted((int(number), facts) for number, facts in decoder.items()):
        token = _content(facts) or ""
        if number < len(extended):
            if extended[number] != token:
                raise LimbeckError(
                    f"{where}: id {number} is {extended[number]!r}, but the tokenizer's "
                    f"configuration says {token!r}; are the files of one model?"
                )
            continue
        if number > len(extended):
            raise LimbeckError(
                f"{where}: has ids up to {len(extended) - 1}, and the configuration adds "
                f"{token!r} as {number}; ids in between would mean nothing"
            )
        if isinstance(facts, Mapping) and facts.get("special") is False:
            raise LimbeckError(
                f"{where}: the configuration adds the word {token!r}; that needs a tokenizer.json"
            )
        extended.append(token)
    return tuple(extended)


def _content(token: Any) -> str | None:
    """Returns the text of a token that stands alone or in an object with its settings."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None


def special_ids(
    config: Mapping[str, Any], vocabulary: Mapping[str, int], *, where: str
) -> SpecialIds:
    """Returns the ids of the roles that a configuration names, else of the usual tokens.

    Args:
      config: from `read_config`.
      vocabulary: token -> id, added tokens included.
      where: file or folder, for messages.

    Raises:
      LimbeckError: the configuration names a token that is not in the vocabulary.
    """
    named = {role: _content(config.get(f"{role}_token")) for role in ROLES}
    roles = {role: token for role, token in named.items() if token is not None}
    for role, token in roles.items():
        if token not in vocabulary:
            raise LimbeckError(
                f"{where}: {role}_token is {token!r}, which is none of the {len(vocabulary)} tokens"
            )
    if not roles:
        fitting = (usual for usual in _USUAL if all(t in vocabulary for t in usual.values()))
        roles = next(fitting, {})
    return SpecialIds(**{role: vocabulary[token] for role, token in roles.items()})


def flag(config: Mapping[str, Any], name: str, default: bool | None, *, where: str) -> bool | None:
    """Returns a setting that is true or false; null or absent is the default.

    Raises:
      LimbeckError: it is something else.
    """
    value = config.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise LimbeckError(f"{where}: {name} is {value!r}; expected true or false")
    return value


def role_fields(special: SpecialIds, tokens: Sequence[str]) -> dict[str, str]:
    """Returns the `..._token` fields that give the special ids their roles."""
    return {f"{role}_token": tokens[number] for role, number in special.known().items()}


def config_file(config: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns `tokenizer_config.json`, by its name, with Limbeck's own facts in it."""
    text = json.dumps({**config, "limbeck": info}, indent=2, sort_keys=True)
    return {CONFIG_NAME: (text + "\n").encode()}
