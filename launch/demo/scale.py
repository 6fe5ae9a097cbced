"""How much the demonstration does: sizes that fit the time it promises."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one demonstration."""

    name: str
    """What the report calls it."""
    seq_length: int
    """Tokens per sequence, special tokens included."""
    max_predictions: int
    """Masked positions per sequence, at most."""
    dupe_factor: int
    """How many times each document is cut and masked anew."""
    heldout_fraction: float
    """Share of the pages kept for evaluation."""
    teacher_steps: int
    """Optimiser steps that tune the MLM teacher from the pretrained encoder."""
    student_steps: int
    """Optimiser steps of the student, and of the same student without the teacher."""
    num_ranks: int = 2
    """Processes that train the student together."""


SHORT = Scale(
    name="short",
    seq_length=64,
    max_predictions=10,
    dupe_factor=1,
    heldout_fraction=0.06,
    teacher_steps=150,
    student_steps=100,
)
LONG = Scale(
    name="long",
    seq_length=128,
    max_predictions=20,
    dupe_factor=4,
    heldout_fraction=0.06,
    teacher_steps=3000,
    student_steps=5000,
)
SCALES = {scale.name: scale for scale in (SHORT, LONG)}
