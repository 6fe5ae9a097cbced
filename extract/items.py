"""What a teacher is asked at: rows of examples and the chosen positions of a batch."""

# n rows of a window, R rows of a batch, L padded length, M positions of all rows together

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from extract.batching import PlannedBatch
from limbeck.labels.draws import draws
from limbeck.labels.signals import Group, Signal
from limbeck.records.examples import attention_mask, segment_ids
from limbeck.records.keys import chosen
from limbeck.teachers.protocol import Items, TeacherBatch

__all__ = ["Question", "make_batch", "position_counts", "question_of"]

Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Where answers are wanted, and what comes with each position."""

    fractions: Mapping[Group, float]
    """Groups of positions, each with the fraction of the records it is wanted of."""
    drawing: frozenset[Group] = field(default_factory=frozenset)
    """Groups whose positions need random words."""
    predicts: Literal["masked", "next"] | None = None
    """Whether the true id at a position is the one there, or the one after it."""
    seed: int = 0
    """Of the draws and of the choice of records."""


def question_of(
    signals: Iterable[Signal], *, predicts: Literal["masked", "next"] | None, seed: int
) -> Question:
    """The union of what some signals need."""
    signals = tuple(signals)
    fractions: dict[Group, float] = {}
    for signal in signals:
        group = signal.positions
        fractions[group] = max(fractions.get(group, 0.0), signal.records)
    return Question(
        fractions=fractions,
        drawing=frozenset(s.positions for s in signals if getattr(s, "needs_draws", False)),
        predicts=predicts,
        seed=seed,
    )


def position_counts(group: Group, rows: Rows) -> np.ndarray:
    """(n,) int64 positions of a group that each row has."""
    if group == "masked":
        return rows["num_masked"].astype(np.int64)
    if group == "all":
        return rows["num_tokens"].astype(np.int64)
    return np.ones(len(rows["num_tokens"]), np.int64)


def make_batch(rows: Rows, planned: PlannedBatch, question: Question) -> TeacherBatch:
    """The rows of a batch at its length, with the positions that are asked for.

    Args:
      rows: fields of the examples, (n, ...); those without masked positions lack the fields.
      planned: which of them; rows that only fill the shape have no positions.
      question: what is asked.
    """
    picked = {name: values[planned.rows] for name, values in rows.items()}
    tokens, split = picked["num_tokens"], picked["segment_split"]
    ids = picked["ids"][:, : planned.length].astype(np.int32)
    truth = _truth(picked, ids, question.predicts)
    items = {}
    for group, fraction in question.fractions.items():
        counts = position_counts(group, picked)
        counts[planned.num_real :] = 0
        if fraction < 1.0:
            counts[~chosen(picked["key"], fraction, question.seed)] = 0
        items[group] = _items(group, picked, counts, truth, question)
    return TeacherBatch(
        ids=ids,
        segment_ids=segment_ids(tokens, split, planned.length).astype(np.int32),
        attention_mask=attention_mask(tokens, planned.length).astype(np.int32),
        items=items,
    )


def _items(
    group: Group, picked: Rows, counts: np.ndarray, truth: np.ndarray, question: Question
) -> Items:
    length = truth.shape[1]
    of_row = np.repeat(np.arange(len(counts)), counts)
    slots = np.arange(len(of_row)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = (
        picked["mask_positions"].astype(np.int64)[of_row, slots] if group == "masked" else slots
    )
    return Items(
        index=(of_row * length + places).astype(np.int32),
        true_ids=truth[of_row, places],
        draws=draws(question.seed, picked["key"], of_row, places)
        if group in question.drawing
        else None,
    )


def _truth(picked: Rows, ids: np.ndarray, predicts: str | None) -> np.ndarray:
    """(R, L) int32: the id that a good teacher names at each token; 0 where nobody knows."""
    if predicts is None:
        return np.zeros_like(ids)
    truth = ids.copy()
    if "mask_positions" in picked:
        slots = picked["mask_positions"].shape[1]
        of_row, slot = np.nonzero(np.arange(slots) < picked["num_masked"].astype(np.int64)[:, None])
        places = picked["mask_positions"].astype(np.int64)[of_row, slot]
        truth[of_row, places] = picked["mask_ids"][of_row, slot]
    if predicts == "next":
        truth = np.concatenate([truth[:, 1:], np.zeros_like(truth[:, :1])], axis=1)
    return truth
