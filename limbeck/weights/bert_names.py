"""Names of BERT's tensors: ours (`limbeck.models.masked_lm`) and those of transformers."""

import re
from collections.abc import Mapping
from typing import TypeVar

from limbeck.config.errors import LimbeckError

__all__ = ["HEAD_PREFIX", "canonical_names", "is_transposed", "source_name", "why_unused"]

T = TypeVar("T")

HEAD_PREFIX = "cls.predictions."
"""What the names of a masked-LM head start with, in transformers."""

_PARTS = {
    "encoder/embeddings/token": "embeddings.word_embeddings.weight",
    "encoder/embeddings/position": "embeddings.position_embeddings.weight",
    "encoder/embeddings/segment": "embeddings.token_type_embeddings.weight",
    "encoder/embeddings/norm": "embeddings.LayerNorm",
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward/inner": "intermediate.dense",
    "feed_forward/outer": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
    "head/transform": "cls.predictions.transform.dense",
    "head/norm": "cls.predictions.transform.LayerNorm",
    "head/output_bias": "cls.predictions.bias",
}
_LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}

# Known companions of a masked LM that it does not need; the reason stands in the report.
_UNUSED = {
    r"embeddings\.position_ids": "a constant, 0 to the last position",
    r"embeddings\.token_type_ids": "a constant, zeros",
    r"pooler\.dense\.(weight|bias)": "the pooler; a masked LM has none",
    r"cls\.seq_relationship\.(weight|bias)": "the next-sentence head; a masked LM has none",
    r"cls\.predictions\.decoder\.weight": "tied to the token embeddings, and equal to them",
    r"cls\.predictions\.decoder\.bias": "the same as cls.predictions.bias",
}


def source_name(name: str, *, layers: tuple[int, ...] | None = None) -> str:
    """The tensor that a variable comes from, as transformers names it without `bert.`.

    Args:
      name: of our variable, such as `encoder/layer_0/attention/query/kernel`.
      layers: the 1-based layer of the source for every layer of ours; None for the same ones.
    """
    if name in _PARTS:
        return _PARTS[name]
    stem, leaf = name.rsplit("/", 1)
    if match := re.fullmatch(r"encoder/layer_(\d+)/(.+)", stem):
        index = int(match[1]) if layers is None else layers[int(match[1])] - 1
        return f"encoder.layer.{index}.{_PARTS[match[2]]}.{_LEAVES[leaf]}"
    return f"{_PARTS[stem]}.{_LEAVES[leaf]}"


def is_transposed(name: str) -> bool:
    """Whether our variable is the transpose of the tensor: PyTorch keeps (output, input)."""
    return name.endswith("/kernel")


def why_unused(name: str) -> str | None:
    """Why a tensor (canonical name) may be left out; None where it should not be there at all."""
    return next((why for regex, why in _UNUSED.items() if re.fullmatch(regex, name)), None)


def canonical_names(tensors: Mapping[str, T], *, where: str) -> dict[str, tuple[str, T]]:
    """Removes what differs between generations of checkpoints.

    Drops the prefix `bert.`, calls the layer norms' `gamma` and `beta` weight and bias, and takes
    `cls.predictions.decoder.bias` for `cls.predictions.bias` where only that is there.

    Args:
      tensors: by the file's names.
      where: for messages.

    Returns:
      Canonical name -> (name in the file, tensor).
    """
    named: dict[str, tuple[str, T]] = {}
    for original, tensor in tensors.items():
        name = original.removeprefix("bert.")
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        if name in named:
            raise LimbeckError(f"{where}: {named[name][0]} and {original} are both {name}")
        named[name] = (original, tensor)
    bias, alias = f"{HEAD_PREFIX}bias", f"{HEAD_PREFIX}decoder.bias"
    if bias not in named and alias in named:
        named[bias] = named.pop(alias)
    return named
