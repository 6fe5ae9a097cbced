"""A tokenised document -> masked sentence-pair examples, as rows of the examples layout.

An example is `[CLS] A [SEP] B [SEP]`, padded with 0. All of its randomness comes from
(seed, key, duplicate): see `prep.seeds`.
"""

# N examples of one document and pass, S token slots, P prediction slots

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError
from limbeck.records.examples import examples_layout
from limbeck.records.layout import Layout
from prep.masking import mask_tokens
from prep.pairs import Pair, Sentences, build_pairs
from prep.seeds import generator, keyed_hash
from prep.split import page_prefix

__all__ = ["ExampleSettings", "SpecialIds", "build_examples", "row_dtype"]

_MAX_DUPLICATES = 1 << 16  # what a key holds


@dataclass(frozen=True, kw_only=True)
class SpecialIds:
    """Ids that examples are built with."""

    cls_id: int
    """[CLS]."""
    sep_id: int
    """[SEP]."""
    mask_id: int
    """[MASK]."""
    vocab_size: int
    """Replacements are drawn from [0, vocab_size)."""


@dataclass(frozen=True, kw_only=True)
class ExampleSettings:
    """How examples are made of documents; the names and defaults are BERT's."""

    max_seq_length: int = 128
    """Tokens of an example, [CLS] and both [SEP] included."""
    max_predictions_per_seq: int = 20
    """Masked positions of an example, at most."""
    short_seq_prob: float = 0.1
    """Probability that a document gets a shorter target length."""
    masked_lm_prob: float = 0.15
    """Share of the tokens to mask."""
    dupe_factor: int = 10
    """Passes over each document, each with pairs and masks of its own."""
    seed: int = 12345
    """Seed of every random choice."""

    def __post_init__(self) -> None:
        """Checks every setting."""
        _check("max_seq_length", self.max_seq_length, 5, 65535)
        _check("max_predictions_per_seq", self.max_predictions_per_seq, 1, self.max_seq_length)
        _check("short_seq_prob", self.short_seq_prob, 0, 1)
        _check("masked_lm_prob", self.masked_lm_prob, 0, 1)
        _check("dupe_factor", self.dupe_factor, 1, _MAX_DUPLICATES)
        _check("seed", self.seed, -(1 << 63), (1 << 63) - 1)

    def layout(self, vocab_size: int) -> Layout:
        """Returns the layout of the examples."""
        return examples_layout(
            seq_length=self.max_seq_length,
            max_predictions=self.max_predictions_per_seq,
            vocab_size=vocab_size,
        )


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be from {low} to {high}")


def row_dtype(layout: Layout) -> np.dtype[Any]:
    """Returns the structured dtype of one row of a fixed layout, in the layout's order."""
    return np.dtype([(f.name, f.numpy_dtype, f.shape) for f in layout.fields])


def build_examples(
    sentences: Sentences,
    *,
    document_key: bytes,
    duplicate: int,
    settings: ExampleSettings,
    special: SpecialIds,
    dtype: np.dtype[Any],
    partner: Callable[[int], Sentences],
) -> npt.NDArray[Any]:
    """Makes the examples of one pass over a document.

    Args:
      sentences: token ids, each sentence with at least one.
      document_key: the document's 16-byte key.
      duplicate: number of the pass, below 65,536.
      settings: how.
      special: ids to build with.
      dtype: of a row, from `row_dtype`.
      partner: 64-bit hash -> another document of the same split.

    Returns:
      (N,) structured array in the order of the document; sequence numbers count from 0.
    """
    seed = settings.seed
    first_draw = duplicate << 32

    def draw_partner(number: int) -> Sentences:
        value = keyed_hash(
            seed=seed, key=document_key, stage="partner", counter=first_draw + number
        )
        return partner(value)

    pairs = list(
        build_pairs(
            sentences,
            max_seq_length=settings.max_seq_length,
            short_seq_prob=settings.short_seq_prob,
            rng=generator(seed=seed, key=document_key, stage="pairs", duplicate=duplicate),
            partner=draw_partner,
        )
    )
    rows = np.zeros(len(pairs), dtype)
    prefix = page_prefix(document_key)
    for sequence, pair in enumerate(pairs):
        key = prefix + struct.pack(">HI", duplicate, sequence)
        _fill(rows[sequence], pair, key=key, settings=settings, special=special)
    return rows


def _fill(
    row: Any, pair: Pair, *, key: bytes, settings: ExampleSettings, special: SpecialIds
) -> None:
    """Writes one example into a row of zeros."""
    split = len(pair.first) + 2
    ids = np.array(
        [special.cls_id, *pair.first, special.sep_id, *pair.second, special.sep_id], np.int64
    )
    candidates = np.delete(np.arange(len(ids)), (0, split - 1, len(ids) - 1))
    masked = mask_tokens(
        ids,
        candidates,
        rng=generator(seed=settings.seed, key=key, stage="masking"),
        mask_id=special.mask_id,
        vocab_size=special.vocab_size,
        rate=settings.masked_lm_prob,
        max_predictions=settings.max_predictions_per_seq,
    )
    num_masked = len(masked.positions)
    row["key"] = np.frombuffer(key, np.uint8)
    row["ids"][: len(ids)] = masked.ids
    row["num_tokens"] = len(ids)
    row["segment_split"] = split
    row["mask_positions"][:num_masked] = masked.positions
    row["mask_ids"][:num_masked] = masked.true_ids
    row["num_masked"] = num_masked
    row["is_random_next"] = pair.is_random_next
