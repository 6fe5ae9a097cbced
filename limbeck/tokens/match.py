"""Whether token ids mean to a model what they meant to the tokenizer that made them."""

import os
from collections.abc import Mapping
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.tokens.folder import VOCAB_NAME, load_tokenizer

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
    if not os.path.exists(os.path.join(model, VOCAB_NAME)):
        return
    own = load_tokenizer(model)
    if recorded["fingerprint"] != own.fingerprint():
        raise UsageError(
            f"{examples} is of tokenizer {recorded['fingerprint'][:12]} (lower_case "
            f"{recorded.get('lower_case')}), but that in {model} is {own.fingerprint()[:12]} "
            f"(lower_case {own.lower_case}): equal ids would mean other words; prepare the "
            "examples with the model's tokenizer"
        )
