"""Examples: masked token rows, the input of teacher and student alike."""

# N rows, S token slots of a row, P prediction slots of a row

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError
from limbeck.records.layout import KEY, Field, Layout

__all__ = [
    "NO_NEXT_SENTENCE_LABEL",
    "attention_mask",
    "check_examples",
    "examples_layout",
    "ids_dtype",
    "segment_ids",
]

NO_NEXT_SENTENCE_LABEL = 255  # is_random_next of rows that carry no next-sentence question

Array = npt.NDArray[np.generic]


def ids_dtype(vocab_size: int) -> str:
    """Returns 'uint16' where every id below `vocab_size` fits it, else 'uint32'."""
    if not 1 <= vocab_size <= 1 << 32:
        raise ValueError(f"vocab_size is {vocab_size}; it must be in [1, 2**32]")
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def examples_layout(*, seq_length: int, max_predictions: int, vocab_size: int) -> Layout:
    """Returns the layout of an examples dataset.

    Fields:
      key: (16,) uint8.
      ids: (S,) token ids after masking, padded with 0.
      num_tokens: real tokens, [CLS] and [SEP] included.
      segment_split: tokens of the first segment with its [CLS] and [SEP]; num_tokens if it is the
        only one.
      mask_positions: (P,) ascending positions to predict, padded with 0.
      mask_ids: (P,) true ids at those positions, padded with 0.
      num_masked: real positions to predict.
      is_random_next: 1 if the second segment is another text's, 0 if not, 255 if nobody asked.

    Args:
      seq_length: S, at most 65,535.
      max_predictions: P.
      vocab_size: decides between uint16 and uint32 ids.
    """
    if not 1 <= seq_length < 1 << 16:
        raise ValueError(f"seq_length is {seq_length}; it must be in [1, 65535]")
    if not 1 <= max_predictions <= seq_length:
        raise ValueError(f"max_predictions is {max_predictions}; it must be in [1, {seq_length}]")
    ids = ids_dtype(vocab_size)
    return Layout(
        (
            KEY,
            Field("ids", ids, (seq_length,)),
            Field("num_tokens", "uint16"),
            Field("segment_split", "uint16"),
            Field("mask_positions", "uint16", (max_predictions,)),
            Field("mask_ids", ids, (max_predictions,)),
            Field("num_masked", "uint16"),
            Field("is_random_next", "uint8"),
        )
    )


def segment_ids(
    num_tokens: npt.NDArray[np.integer],
    segment_split: npt.NDArray[np.integer],
    seq_length: int,
) -> npt.NDArray[np.uint8]:
    """Returns segment ids uint8 (N, S): 1 in the second segment, else 0, padding included.

    Args:
      num_tokens: (N,) real tokens.
      segment_split: (N,) tokens of the first segment.
      seq_length: S.
    """
    slot = np.arange(seq_length)
    tokens, split = np.asarray(num_tokens)[:, None], np.asarray(segment_split)[:, None]
    return ((slot >= split) & (slot < tokens)).astype(np.uint8)


def attention_mask(num_tokens: npt.NDArray[np.integer], seq_length: int) -> npt.NDArray[np.uint8]:
    """Returns uint8 (N, S): 1 at real tokens, 0 at padding."""
    return (np.arange(seq_length) < np.asarray(num_tokens)[:, None]).astype(np.uint8)


def check_examples(rows: Mapping[str, Array], *, vocab_size: int | None = None) -> None:
    """Checks what the dtypes of the examples layout cannot say.

    Args:
      rows: one array (N, ...) a field of `examples_layout`.
      vocab_size: ids must be below it; None leaves them alone.

    Raises:
      LimbeckError: naming the first bad row of `rows` and what is wrong with it.
    """
    ids, positions = rows["ids"].astype(np.int64), rows["mask_positions"].astype(np.int64)
    true_ids = rows["mask_ids"].astype(np.int64)
    tokens, split = rows["num_tokens"].astype(np.int64), rows["segment_split"].astype(np.int64)
    masked = rows["num_masked"].astype(np.int64)
    slot, place = np.arange(ids.shape[1]), np.arange(positions.shape[1])
    real = place < masked[:, None]
    falling = (positions[:, 1:] <= positions[:, :-1]) & real[:, 1:]
    limit = 1 << 32 if vocab_size is None else vocab_size
    unknown_label = ~np.isin(rows["is_random_next"], (0, 1, NO_NEXT_SENTENCE_LABEL))
    for bad, what in (
        ((tokens < 1) | (tokens > ids.shape[1]), f"num_tokens is not in [1, {ids.shape[1]}]"),
        ((split < 1) | (split > tokens), "segment_split is not in [1, num_tokens]"),
        (masked > positions.shape[1], f"num_masked is above {positions.shape[1]}"),
        ((ids >= limit).any(1) | (true_ids >= limit).any(1), f"an id is not below {limit}"),
        (((ids != 0) & (slot >= tokens[:, None])).any(1), "ids is not 0 behind num_tokens"),
        ((real & (positions >= tokens[:, None])).any(1), "a mask position is not below num_tokens"),
        (falling.any(1), "mask_positions do not ascend"),
        ((~real & (positions != 0)).any(1), "mask_positions is not 0 behind num_masked"),
        ((~real & (true_ids != 0)).any(1), "mask_ids is not 0 behind num_masked"),
        (unknown_label, "is_random_next is not 0, 1 or 255"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise LimbeckError(
                f"examples: row {row} (key {rows['key'][row].tobytes().hex()}): {what}; it has "
                f"num_tokens {tokens[row]}, segment_split {split[row]}, num_masked {masked[row]}"
            )
