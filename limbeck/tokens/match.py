"""Whether token ids mean to a model what they meant to the tokenizer that made them."""

import os
from collections.abc import Mapping
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.tokens.folder import holds_tokenizer, load_tokenizer

__all__ = ["refuse_other_tokenizer"]


def refuse_other_tokenizer(
    recorded: Mapping[str, Any] | None,
    *,
    examples: str,
    model: str | os.PathLike[str],
    vocab_size: int,
) -> None:
    """Compares what a manifest says of its tokenizer with what a model folder holds.

    Nothing is known of imported records, and a folder may lack its vocabulary: what is not known
    is not compared.

    Args:
      recorded: `content.tokenizer` of the examples' manifest.
      examples: their directory, for the message.
      model: the model's folder, with or without a tokenizer in it.
      vocab_size: ids the model reads.

    Raises:
      UsageError: another number of ids, other words, or other rules of lower-casing.
      LimbeckError: the folder's tokenizer is damaged.
    """
    if recorded is None:
        return
    if recorded["vocab_size"] != vocab_size:
        raise UsageError(
            f"{examples} was tokenized with {recorded['vocab_size']} ids, but the vocabulary of "
            f"the model {model} has {vocab_size}; prepare the examples with the model's tokenizer"
        )
    if not holds_tokenizer(model):
        return
    own = load_tokenizer(model)
    if recorded["fingerprint"] != own.fingerprint():
        raise UsageError(
            f"{examples} is of tokenizer {_describe(recorded)}, but that in {model} is "
            f"{_describe(own.info())}: equal ids would mean other words; prepare the examples "
            "with the model's tokenizer"
        )


def _describe(info: Mapping[str, Any]) -> str:
    """Returns fingerprint and kind, with what else a manifest says."""
    facts = [str(info.get("kind", "wordpiece"))]
    names = ("lower_case", "strip_accents", "add_prefix_space", "convention", "model")
    facts += [f"{name} {info[name]}" for name in names if name in info]
    return f"{info['fingerprint'][:12]} ({', '.join(facts)})"
