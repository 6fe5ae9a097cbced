"""BERT's pre-training records <-> rows of our examples. Pure functions over arrays.

    input_ids             int64[S]    ids after masking, padded with 0
    input_mask            int64[S]    1 real, then 0 padding
    segment_ids           int64[S]    0 ... 0 1 ... 1, then 0 padding
    masked_lm_positions   int64[P]    padded with 0
    masked_lm_ids         int64[P]    true ids there, padded with 0
    masked_lm_weights     float32[P]  1.0 real slot, 0.0 padding
    next_sentence_labels  int64[1]    1 random next, 0 true next

Real slots are put first and sorted by position, which leaves every loss as it was; what stands in
padding slots (position 0, which is [CLS]) means nothing and becomes 0.
"""

# n records, S token slots, P prediction slots

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from limbeck.interop.features import Schema, check_rows
from limbeck.records.examples import (
    NO_NEXT_SENTENCE_LABEL,
    attention_mask,
    check_examples,
    ids_dtype,
    segment_ids,
)

__all__ = ["BERT_FEATURES", "Examples", "bert_schema", "from_examples", "to_examples"]

Array = npt.NDArray[Any]
NEXT_SENTENCE = "next_sentence_labels"
BERT_FEATURES: Mapping[str, tuple[Literal["int64", "float32"], str]] = {
    "input_ids": ("int64", "sequence"),
    "input_mask": ("int64", "sequence"),
    "segment_ids": ("int64", "sequence"),
    "masked_lm_positions": ("int64", "slots"),
    "masked_lm_ids": ("int64", "slots"),
    "masked_lm_weights": ("float32", "slots"),
    NEXT_SENTENCE: ("int64", "one"),
}


def bert_schema(*, next_sentence: bool) -> Schema:
    """Returns the schema, with or without the next-sentence label."""
    dropped = () if next_sentence else (NEXT_SENTENCE,)
    labelled = "these are labelled records: use --schema first-seed"
    return Schema(
        name="bert",
        features={n: spec for n, spec in BERT_FEATURES.items() if n not in dropped},
        hints={
            "truncated_masked_lm_probs": labelled,
            "top_k_indices": labelled,
            "masked_lm_probs": "records with whole distributions cannot be imported",
            NEXT_SENTENCE: "leave --no-next-sentence out",
        },
    )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Imported rows."""

    columns: dict[str, Array]
    """One array (n, ...) a field of the examples layout."""

    slot_order: npt.NDArray[np.int64]
    """(n, P) which slot of the record each slot came from; real ones first."""


def to_examples(
    record: Mapping[str, Array],
    *,
    keys: npt.NDArray[np.uint8],
    vocab_size: int,
    where: Callable[[int], str],
) -> Examples:
    """Turns records into rows of an examples dataset.

    Args:
      record: feature -> (n, length), as `features.stack` returns.
      keys: (n, 16) the rows' keys.
      vocab_size: V; ids must be below it.
      where: row -> its place, for messages.

    Raises:
      LimbeckError: naming the record and what is wrong with it.
    """
    _check_tokens(record, vocab_size=vocab_size, where=where)
    num_tokens = record["input_mask"].sum(axis=1)
    weights, positions = record["masked_lm_weights"], record["masked_lm_positions"]
    check_rows(where, ((weights != 0) & (weights != 1), "masked_lm_weights has more than 0 and 1"))
    real = weights == 1
    _check_slots(record, real, num_tokens, vocab_size=vocab_size, where=where)
    slot_order = np.argsort(np.where(real, positions, np.iinfo(np.int64).max), kind="stable")
    real = np.take_along_axis(real, slot_order, axis=1)
    positions = np.where(real, np.take_along_axis(positions, slot_order, axis=1), 0)
    twice = (positions[:, 1:] == positions[:, :-1]) & real[:, 1:]
    check_rows(where, (twice, "masked_lm_positions has a position twice"))
    true_ids = np.take_along_axis(record["masked_lm_ids"], slot_order, axis=1)
    ids_type = ids_dtype(vocab_size)
    is_token = attention_mask(num_tokens, record["input_ids"].shape[1]).astype(bool)
    next_label = record.get(NEXT_SENTENCE, np.full((len(keys), 1), NO_NEXT_SENTENCE_LABEL))
    columns = {
        "key": keys,
        "ids": record["input_ids"].astype(ids_type),
        "num_tokens": num_tokens.astype(np.uint16),
        "segment_split": ((record["segment_ids"] == 0) & is_token).sum(axis=1).astype(np.uint16),
        "mask_positions": positions.astype(np.uint16),
        "mask_ids": np.where(real, true_ids, 0).astype(ids_type),
        "num_masked": real.sum(axis=1).astype(np.uint16),
        "is_random_next": next_label[:, 0].astype(np.uint8),
    }
    check_examples(columns, vocab_size=vocab_size)  # ours, once more: what we store must be sound
    return Examples(columns=columns, slot_order=slot_order)


def from_examples(
    rows: Mapping[str, Array], *, next_sentence: bool, where: Callable[[int], str]
) -> dict[str, Array]:
    """Turns rows of an examples dataset into records.

    Args:
      rows: one array (n, ...) a field of the examples layout.
      next_sentence: whether the records carry next_sentence_labels.
      where: row -> its place, for messages.

    Returns:
      feature -> int64 or float32 (n, length).

    Raises:
      LimbeckError: a row has no next-sentence label and the records need one.
    """
    seq_length, slots = rows["ids"].shape[1], rows["mask_positions"].shape[1]
    num_masked = rows["num_masked"].astype(np.int64)[:, None]
    record: dict[str, Array] = {
        "input_ids": rows["ids"].astype(np.int64),
        "input_mask": attention_mask(rows["num_tokens"], seq_length).astype(np.int64),
        "segment_ids": segment_ids(rows["num_tokens"], rows["segment_split"], seq_length).astype(
            np.int64
        ),
        "masked_lm_positions": rows["mask_positions"].astype(np.int64),
        "masked_lm_ids": rows["mask_ids"].astype(np.int64),
        "masked_lm_weights": (np.arange(slots) < num_masked).astype(np.float32),
    }
    if next_sentence:
        none = np.full(len(rows["ids"]), NO_NEXT_SENTENCE_LABEL, np.uint8)  # of rows of `mlm`
        label = rows.get("is_random_next", none).astype(np.int64)[:, None]
        what = "carries no next-sentence label; export with --no-next-sentence"
        check_rows(where, (label == NO_NEXT_SENTENCE_LABEL, what))
        record[NEXT_SENTENCE] = label
    return record


def _check_tokens(
    record: Mapping[str, Array], *, vocab_size: int, where: Callable[[int], str]
) -> None:
    ids, mask, segments = (record[name] for name in ("input_ids", "input_mask", "segment_ids"))
    num_tokens = mask.sum(axis=1)[:, None]
    is_token = np.arange(ids.shape[1]) < num_tokens
    split = ((segments == 0) & is_token).sum(axis=1)[:, None]
    expected = (np.arange(ids.shape[1]) >= split) & is_token
    label = record.get(NEXT_SENTENCE, np.zeros((len(ids), 1), np.int64))
    check_rows(
        where,
        ((mask != is_token) | (num_tokens < 1), "input_mask is not 1 ... 1 0 ... 0"),
        ((ids < 0) | (ids >= vocab_size), f"input_ids has an id outside [0, {vocab_size})"),
        ((ids != 0) & ~is_token, "input_ids is not 0 where input_mask is"),
        (
            (segments != expected) | (split < 1),
            "segment_ids is not 0 ... 0 1 ... 1, with 0 as padding",
        ),
        ((label != 0) & (label != 1), f"{NEXT_SENTENCE} is neither 0 nor 1"),
    )


def _check_slots(
    record: Mapping[str, Array],
    real: npt.NDArray[np.bool_],
    num_tokens: Array,
    *,
    vocab_size: int,
    where: Callable[[int], str],
) -> None:
    positions, true_ids = record["masked_lm_positions"], record["masked_lm_ids"]
    outside = (positions < 0) | (positions >= num_tokens[:, None])
    check_rows(
        where,
        (real & outside, "masked_lm_positions has a position outside the record's tokens"),
        (
            real & ((true_ids < 0) | (true_ids >= vocab_size)),
            f"masked_lm_ids has an id outside [0, {vocab_size})",
        ),
    )
