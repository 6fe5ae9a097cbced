"""Examples: token rows, the input of teacher and student alike, and what is asked of them.

Every row has `key`, `ids`, `num_tokens` and `segment_split`. What else it has depends on the kind
of example, which the manifest's settings name (`example_kind`):

    pairs           masked pairs: mask_positions, mask_ids, num_masked, is_random_next
    mlm             masked sequences: mask_positions, mask_ids, num_masked
    unmasked-pairs  pairs or single sequences as they are: is_random_next
    clm             blocks of running text: nothing else
    lines           one text line a row: as mlm where masked, else nothing else
    classification  class_id
    multi-label     class_flags
    regression      target
    tagging         tags
    qa              span_start, span_end, char_starts, char_ends, answerable
"""

# N rows, S token slots of a row, P prediction slots of a row, C labels

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.layout import KEY, Field, Layout

__all__ = [
    "EXAMPLE_KINDS",
    "NO_ANSWER_LABEL",
    "NO_CHARACTER",
    "NO_CLASS",
    "NO_FLAG",
    "NO_NEXT_SENTENCE_LABEL",
    "NO_TAG",
    "UNKNOWN",
    "ExampleKind",
    "attention_mask",
    "check_examples",
    "examples_layout",
    "ids_dtype",
    "kind_layout",
    "labelled_positions",
    "refuse_unmasked",
    "segment_ids",
]

ExampleKind = Literal[
    "pairs",
    "mlm",
    "unmasked-pairs",
    "clm",
    "lines",
    "classification",
    "multi-label",
    "regression",
    "tagging",
    "qa",
]
EXAMPLE_KINDS: tuple[ExampleKind, ...] = ExampleKind.__args__  # type: ignore[attr-defined]

NO_NEXT_SENTENCE_LABEL = 255  # is_random_next of rows that carry no next-sentence question
NO_CLASS = -1  # class_id of rows without a label
NO_FLAG = 255  # class_flags of rows without labels
NO_TAG = 65_535  # tags of tokens that carry none
NO_ANSWER_LABEL = 255  # answerable of questions whose answer nobody gave
NO_CHARACTER = (1 << 32) - 1  # char_starts and char_ends of tokens that are not of the context

# Field -> what stands where a row, or a slot of it, has nothing to say: in a mixture, the values of
# rows whose own kind lacks the field, and of the slots that longer rows have more.
UNKNOWN: Mapping[str, float] = {
    "ids": 0,
    "mask_positions": 0,
    "mask_ids": 0,
    "num_masked": 0,
    "is_random_next": NO_NEXT_SENTENCE_LABEL,
    "class_id": NO_CLASS,
    "class_flags": NO_FLAG,
    "target": math.nan,
    "tags": NO_TAG,
    "span_start": 0,
    "span_end": 0,
    "char_starts": NO_CHARACTER,
    "char_ends": NO_CHARACTER,
    "answerable": NO_ANSWER_LABEL,
}

Array = npt.NDArray[np.generic]
Problem = tuple[Any, str]


def ids_dtype(vocab_size: int) -> str:
    """Returns 'uint16' where every id below `vocab_size` fits it, else 'uint32'."""
    if not 1 <= vocab_size <= 1 << 32:
        raise ValueError(f"vocab_size is {vocab_size}; it must be in [1, 2**32]")
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def examples_layout(*, seq_length: int, max_predictions: int, vocab_size: int) -> Layout:
    """Returns the layout of masked pairs, the kind `pairs`; see `kind_layout`."""
    return kind_layout(
        "pairs", seq_length=seq_length, max_predictions=max_predictions, vocab_size=vocab_size
    )


def kind_layout(
    kind: ExampleKind,
    *,
    seq_length: int,
    vocab_size: int,
    max_predictions: int | None = None,
    num_labels: int | None = None,
) -> Layout:
    """Returns the layout of a kind of examples.

    Fields:
      key: (16,) uint8.
      ids: (S,) token ids, after masking where there is any, padded with 0.
      num_tokens: real tokens, [CLS] and [SEP] included.
      segment_split: tokens of the first segment with its [CLS] and [SEP]; num_tokens if it is the
        only one.
      mask_positions: (P,) ascending positions to predict, padded with 0.
      mask_ids: (P,) true ids at those positions, padded with 0.
      num_masked: real positions to predict.
      is_random_next: 1 if the second segment is another text's, 0 if not, 255 if nobody asked.
      class_id: number of the label, -1 for none.
      class_flags: (C,) 1 for each label that holds, 0 for others; 255 throughout for none known.
      target: the number to predict, NaN for none.
      tags: (S,) number of each token's tag, 65,535 for tokens that carry none.
      span_start, span_end: first and last token of the answer; both 0 where it is not in this row.
      char_starts, char_ends: (S,) where each token stands in the context, in characters;
        4,294,967,295 for tokens that are not of the context.
      answerable: 1 if the context answers the question (perhaps in another window), 0 if not, 255
        if nobody said.

    Args:
      kind: which.
      seq_length: S, at most 65,535.
      vocab_size: decides between uint16 and uint32 ids.
      max_predictions: P of `pairs`, `mlm` and masked `lines`; None for all others.
      num_labels: C of `multi-label`; of no effect on other kinds.
    """
    if not 1 <= seq_length < 1 << 16:
        raise ValueError(f"seq_length is {seq_length}; it must be in [1, 65535]")
    if max_predictions is not None and not 1 <= max_predictions <= seq_length:
        raise ValueError(f"max_predictions is {max_predictions}; it must be in [1, {seq_length}]")
    if kind in ("pairs", "mlm") and max_predictions is None:
        raise ValueError(f"max_predictions is missing; {kind} examples are masked")
    if max_predictions is not None and kind not in ("pairs", "mlm", "lines"):
        raise ValueError(f"max_predictions is {max_predictions}; {kind} examples have no masks")
    ids = ids_dtype(vocab_size)
    fields = [
        KEY,
        Field("ids", ids, (seq_length,)),
        Field("num_tokens", "uint16"),
        Field("segment_split", "uint16"),
    ]
    if max_predictions is not None:
        fields += [
            Field("mask_positions", "uint16", (max_predictions,)),
            Field("mask_ids", ids, (max_predictions,)),
            Field("num_masked", "uint16"),
        ]
    return Layout((*fields, *_question_fields(kind, seq_length, num_labels)))


def _question_fields(kind: ExampleKind, seq_length: int, num_labels: int | None) -> Sequence[Field]:
    """Returns what rows of a kind are asked beside their masked tokens."""
    match kind:
        case "pairs" | "unmasked-pairs":
            return (Field("is_random_next", "uint8"),)
        case "classification":
            return (Field("class_id", "int32"),)
        case "multi-label":
            if num_labels is None or num_labels < 1:
                raise ValueError(f"num_labels is {num_labels}; multi-label examples need one")
            return (Field("class_flags", "uint8", (num_labels,)),)
        case "regression":
            return (Field("target", "float32"),)
        case "tagging":
            return (Field("tags", "uint16", (seq_length,)),)
        case "qa":
            return (
                Field("span_start", "uint16"),
                Field("span_end", "uint16"),
                Field("char_starts", "uint32", (seq_length,)),
                Field("char_ends", "uint32", (seq_length,)),
                Field("answerable", "uint8"),
            )
    return ()


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


def labelled_positions(rows: Mapping[str, Array]) -> int:
    """Returns how many positions, over all rows, carry a label of their own.

    Masked tokens of masked kinds, tagged tokens of `tagging`; rows with a label of the other task
    kinds; 0 where nothing is labelled.
    """
    if "num_masked" in rows:
        return int(rows["num_masked"].sum(dtype=np.int64))
    for name, none in (
        ("class_id", NO_CLASS),
        ("tags", NO_TAG),
        ("answerable", NO_ANSWER_LABEL),
    ):
        if name in rows:
            return int(np.count_nonzero(rows[name] != none))
    if "class_flags" in rows:
        return int(np.count_nonzero((rows["class_flags"] != NO_FLAG).all(1)))
    if "target" in rows:
        return int(np.count_nonzero(~np.isnan(rows["target"].astype(np.float32))))
    return 0


def refuse_unmasked(layout: Layout, *, examples: str, who: str) -> None:
    """Refuses examples without masked positions.

    Args:
      layout: of the examples.
      examples: their directory, for the message.
      who: needs the masks.

    Raises:
      UsageError: there are none.
    """
    if "mask_positions" not in layout.names:
        raise UsageError(
            f"{examples}: these examples have no masked positions, and {who} needs them; prepare "
            "them with --kind pairs or --kind mlm"
        )


def check_examples(
    rows: Mapping[str, Array], *, vocab_size: int | None = None, num_labels: int | None = None
) -> None:
    """Checks what the dtypes of an examples layout cannot say, for any kind.

    Args:
      rows: one array (N, ...) a field of `kind_layout`.
      vocab_size: ids must be below it; None leaves them alone.
      num_labels: classes and tags must be below it; None leaves them alone.

    Raises:
      LimbeckError: naming the first bad row of `rows` and what is wrong with it.
    """
    for bad, what in _problems(rows, vocab_size=vocab_size, num_labels=num_labels):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            facts = ("num_tokens", "segment_split", "num_masked")
            found = ", ".join(f"{name} {rows[name][row]}" for name in facts if name in rows)
            raise LimbeckError(
                f"examples: row {row} (key {rows['key'][row].tobytes().hex()}): {what}; it has "
                f"{found}"
            )


def _problems(
    rows: Mapping[str, Array], *, vocab_size: int | None, num_labels: int | None
) -> Iterator[Problem]:
    limit = 1 << 32 if vocab_size is None else vocab_size
    yield from _token_problems(rows, limit)
    if "mask_positions" in rows:
        yield from _mask_problems(rows, limit)
    if "is_random_next" in rows:
        known = np.isin(rows["is_random_next"], (0, 1, NO_NEXT_SENTENCE_LABEL))
        yield ~known, "is_random_next is not 0, 1 or 255"
    yield from _label_problems(rows, num_labels)
    if "tags" in rows:
        yield from _tag_problems(rows, num_labels)
    if "answerable" in rows:
        yield from _span_problems(rows)


def _token_problems(rows: Mapping[str, Array], limit: int) -> Iterator[Problem]:
    ids, tokens, split = (
        rows[name].astype(np.int64) for name in ("ids", "num_tokens", "segment_split")
    )
    slot = np.arange(ids.shape[1])
    yield (tokens < 1) | (tokens > ids.shape[1]), f"num_tokens is not in [1, {ids.shape[1]}]"
    yield (split < 1) | (split > tokens), "segment_split is not in [1, num_tokens]"
    yield (ids >= limit).any(1), f"an id is not below {limit}"
    yield ((ids != 0) & (slot >= tokens[:, None])).any(1), "ids is not 0 behind num_tokens"


def _mask_problems(rows: Mapping[str, Array], limit: int) -> Iterator[Problem]:
    positions, true_ids = (rows[n].astype(np.int64) for n in ("mask_positions", "mask_ids"))
    tokens, masked = (rows[n].astype(np.int64)[:, None] for n in ("num_tokens", "num_masked"))
    real = np.arange(positions.shape[1]) < masked
    falling = (positions[:, 1:] <= positions[:, :-1]) & real[:, 1:]
    yield masked[:, 0] > positions.shape[1], f"num_masked is above {positions.shape[1]}"
    yield (true_ids >= limit).any(1), f"an id is not below {limit}"
    yield (real & (positions >= tokens)).any(1), "a mask position is not below num_tokens"
    yield falling.any(1), "mask_positions do not ascend"
    yield (~real & (positions != 0)).any(1), "mask_positions is not 0 behind num_masked"
    yield (~real & (true_ids != 0)).any(1), "mask_ids is not 0 behind num_masked"


def _label_problems(rows: Mapping[str, Array], num_labels: int | None) -> Iterator[Problem]:
    if "class_id" in rows:
        label = rows["class_id"].astype(np.int64)
        high = np.iinfo(np.int32).max if num_labels is None else num_labels - 1
        yield (label < NO_CLASS) | (label > high), f"class_id is not in [-1, {high}]"
    if "class_flags" in rows:
        flags = rows["class_flags"]
        unknown = (flags == NO_FLAG).all(1)
        yield ~(np.isin(flags, (0, 1)).all(1) | unknown), "class_flags are not 0 or 1, nor all 255"
    if "target" in rows:
        yield np.isinf(rows["target"].astype(np.float32)), "target is not finite"


def _tag_problems(rows: Mapping[str, Array], num_labels: int | None) -> Iterator[Problem]:
    tags, tokens = rows["tags"].astype(np.int64), rows["num_tokens"].astype(np.int64)[:, None]
    tagged = tags != NO_TAG
    yield (tagged & (np.arange(tags.shape[1]) >= tokens)).any(1), "a tag is behind num_tokens"
    high = NO_TAG - 1 if num_labels is None else num_labels - 1
    yield (tagged & (tags > high)).any(1), f"a tag is not in [0, {high}]"


def _span_problems(rows: Mapping[str, Array]) -> Iterator[Problem]:
    start, end, tokens, answerable = (
        rows[name].astype(np.int64)
        for name in ("span_start", "span_end", "num_tokens", "answerable")
    )
    firsts, lasts = (rows[name].astype(np.int64) for name in ("char_starts", "char_ends"))
    slot, in_context = np.arange(firsts.shape[1]), firsts != NO_CHARACTER
    yield ~np.isin(answerable, (0, 1, NO_ANSWER_LABEL)), "answerable is not 0, 1 or 255"
    yield (start > end) | (end >= tokens), "the answer does not lie in the tokens"
    yield (answerable != 1) & (end != 0), "there is an answer and answerable is not 1"
    yield (in_context != (lasts != NO_CHARACTER)).any(1), "char_starts and char_ends do not agree"
    yield (in_context & (slot >= tokens[:, None])).any(1), "a character is behind num_tokens"
    yield (in_context & (firsts > lasts)).any(1), "a token ends before it starts"
    answer = (slot >= start[:, None]) & (slot <= end[:, None]) & (end[:, None] > 0)
    yield (answer & ~in_context).any(1), "the answer is not in the context"
