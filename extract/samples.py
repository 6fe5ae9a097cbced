"""Evenly spaced records of a label family, with the examples they belong to if at hand."""

# n records of a sample, M positions of them all, T token slots

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extract.inspection import Family
from limbeck.config.errors import LimbeckError
from limbeck.labels import codecs
from limbeck.labels.signals import Signal
from limbeck.records.dataset import Dataset, check_rows_match, open_dataset
from limbeck.records.keys import input_digest
from limbeck.tokens import Tokenizer, holds_tokenizer, load_tokenizer, refuse_other_tokenizer

__all__ = [
    "UNKNOWN",
    "FamilySample",
    "check_digests",
    "find_examples",
    "find_tokenizer",
    "token_places",
    "true_ids_at",
    "take_sample",
]

UNKNOWN = -1
"""True id of a position that nobody has the truth of."""
MOST_BYTES = 1 << 25  # of the records of a family's sample, as they are stored

Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilySample:
    """Encoded labels of some records, flat, and what is known of their places."""

    family: Family
    """Where they are from."""
    keys: np.ndarray
    """(n, 16) of the records."""
    arrays: Rows
    """Encoded arrays (M, ...), record by record."""
    rows: np.ndarray
    """(M,) which of the n records a position is of."""
    examples: Rows | None
    """Fields of the n examples; None where they are not at hand."""
    tokens: np.ndarray | None
    """(M,) token slot of each position; None where only the examples could say."""
    true_ids: np.ndarray | None
    """(M,) the id that truly stands there, `UNKNOWN` where nobody knows; None without examples."""


def find_examples(families: Sequence[Family], given: str) -> Dataset | None:
    """Opens the examples of families: those given, or those they were made from if still there.

    Raises:
      UsageError: those given are not the ones they were made from.
    """
    if given:
        examples = open_dataset(given, kind="examples")
        for family in families:
            check_rows_match(examples, family.dataset)
        return examples
    for path in _made_from(families, "examples"):
        try:
            examples = open_dataset(path, kind="examples")
            for family in families:
                check_rows_match(examples, family.dataset)
            return examples
        except LimbeckError:  # prepared again since, or gone: a guess that failed, not an error
            continue
    return None


def find_tokenizer(
    families: Sequence[Family], given: str, *, teacher: str = ""
) -> Tokenizer | None:
    """Loads the tokenizer: the one given, or a teacher's if it is the one of the examples.

    Args:
      families: whose ids are to be read, of one teacher.
      given: its folder; empty looks into the teacher's.
      teacher: the teacher's folder; where it lay at extraction is tried too.

    Raises:
      UsageError: the one given is not the one of the examples.
    """
    content = families[0].dataset.content
    expected = content.tokenizer
    if given:
        where = families[0].dataset.directory
        vocab_size = int((content.teacher or {}).get("vocab_size") or 0)
        refuse_other_tokenizer(expected, examples=where, model=given, vocab_size=vocab_size)
        return load_tokenizer(given)
    for path in [*filter(None, [teacher]), *_made_from(families, "teacher")]:
        try:
            tokenizer = load_tokenizer(path) if holds_tokenizer(path) else None
        except LimbeckError:  # as above
            continue
        if tokenizer and tokenizer.fingerprint() == (expected or {}).get("fingerprint"):
            return tokenizer
    return None


def _made_from(families: Sequence[Family], role: str) -> list[str]:
    """Paths that the families' provenance names, without repeats."""
    paths = (family.dataset.manifest.provenance.paths.get(role) for family in families)
    return list(dict.fromkeys(path for path in paths if path))


def take_sample(family: Family, examples: Dataset | None, *, num_rows: int) -> FamilySample:
    """Reads evenly spaced records, fewer than `num_rows` where they are large.

    Raises:
      LimbeckError: a damaged record, or labels that belong to other inputs.
    """
    dataset, signal = family.dataset, family.fitted.signal
    totals = dataset.content.totals
    each = max(1, totals["bytes"] // max(1, totals["records"]))
    count = min(num_rows, dataset.num_rows, max(1, MOST_BYTES // each))
    own = np.unique(np.linspace(0, max(0, dataset.num_rows - 1), count).astype(np.int64))
    stored = dataset.read(own[: dataset.num_rows])
    arrays, flat = codecs.from_records(family.fitted, stored)
    rows = None
    if examples is not None:
        rows = examples.read(dataset.parent_rows()[own[: dataset.num_rows]])
        check_digests(rows, stored, signal, where=dataset.directory)
    tokens = token_places(signal, rows, flat.rows, flat.slots)
    known = tokens is not None and rows is not None
    causal = known and examples is not None and _is_causal(examples)
    return FamilySample(
        family=family,
        keys=stored["key"],
        arrays=arrays,
        rows=flat.rows,
        examples=rows,
        tokens=tokens,
        true_ids=true_ids_at(rows, flat.rows, tokens, causal=causal) if known else None,  # type: ignore[arg-type]
    )


def token_places(
    signal: Signal, examples: Rows | None, rows: np.ndarray, slots: np.ndarray
) -> np.ndarray | None:
    """Token slots (M,) of label slots (M,) of records; None where the examples are missing."""
    if signal.positions == "first":
        return np.zeros(len(slots), np.int64)
    if signal.positions == "all":
        return slots.astype(np.int64)
    if examples is None:
        return None
    places: np.ndarray = examples["mask_positions"][rows, slots].astype(np.int64)
    return places


def true_ids_at(
    examples: Rows, rows: np.ndarray, tokens: np.ndarray, *, causal: bool = False
) -> np.ndarray:
    """The ids (M,) that a teacher should guess at tokens (M,) of records, int64.

    Args:
      examples: fields of the examples, (n, ...).
      rows: (M,) which record.
      tokens: (M,) which of its tokens.
      causal: whether it is the next token that is guessed, not the masked one.

    Returns:
      `UNKNOWN` at tokens that are not masked, or are the last.
    """
    num_records, num_tokens = examples["ids"].shape
    truth = np.full((num_records, num_tokens), UNKNOWN, np.int64)
    if "mask_positions" in examples:
        slot = np.arange(examples["mask_positions"].shape[1])
        of_row, used = np.nonzero(slot < examples["num_masked"].astype(np.int64)[:, None])
        places = examples["mask_positions"][of_row, used].astype(np.int64)
        truth[of_row, places] = examples["mask_ids"][of_row, used]
    elif causal:
        following = np.arange(1, num_tokens) < examples["num_tokens"].astype(np.int64)[:, None]
        truth[:, :-1] = np.where(following, examples["ids"][:, 1:].astype(np.int64), UNKNOWN)
    return truth[rows, tokens]


def check_digests(examples: Rows, stored: Rows, signal: Signal, *, where: str) -> None:
    """Checks that labels were made of the inputs (n, ...) they are put beside.

    Raises:
      LimbeckError: naming the first record of another input.
    """
    selected: tuple[np.ndarray, ...] = ()
    if signal.positions == "masked":
        selected = (examples["mask_positions"], examples["num_masked"])
    expected = input_digest(
        examples["ids"], examples["num_tokens"], examples["segment_split"], *selected
    )
    wrong = (stored["key"] != examples["key"]).any(-1) | (stored["digest"] != expected).any(-1)
    if wrong.any():
        key = examples["key"][int(np.argmax(wrong))].tobytes().hex()
        raise LimbeckError(f"{where}: the label of record {key} belongs to another input")


def _is_causal(examples: Dataset) -> bool:
    return examples.content.settings.get("example_kind") == "clm"
